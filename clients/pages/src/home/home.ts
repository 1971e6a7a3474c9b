/** The front page. */
import '../shell/start.js';
