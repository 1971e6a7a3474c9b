// Runs before anything is drawn, so that a page does not flash in the other colours: what was chosen last, else the
// system's setting.
(function () {
  var chosen = null;
  try {
    chosen = localStorage.getItem('rallypoint-theme');
  } catch (error) {
    // A browser that keeps nothing: the system's setting then.
  }
  if (chosen === 'dark' || chosen === 'light') document.documentElement.dataset.theme = chosen;
})();
