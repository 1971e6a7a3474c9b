use super::*;

const PAGE: &str = "https://app.example";

fn tickets(change: impl FnOnce(&mut Limits)) -> Tickets {
    let mut limits = Limits::default();
    change(&mut limits);
    Tickets::new(&limits, Arc::new(Metrics::new()))
}

/// What a token of this user allows that ends at `expires`.
fn grant(user: &str, expires: f64) -> Grant {
    Grant { expires_at_ms: expires, ..Grant::nobody(UserName::new(user).unwrap()) }
}

fn page(origin: &str) -> Home {
    Home { origin: Some(origin.into()), is_own: false }
}

fn rooms(names: &[&str]) -> Vec<RoomName> {
    names.iter().map(|name| RoomName::new(name).unwrap()).collect()
}

const HOUR: f64 = 3_600_000.0;

fn issue(tickets: &Tickets, purpose: Purpose) -> String {
    tickets.issue(purpose, grant("ada", HOUR), page(PAGE), Millis(0.0)).unwrap().0
}

/// Opens a feed with a ticket, as a route does.
fn open(tickets: &Tickets, ticket: &str, names: &[&str], now: f64) -> Result<Arc<Wake>, Refused> {
    tickets.grant(ticket, Purpose::Events, &page(PAGE), Millis(now))?;
    let wake = Arc::default();
    tickets.opened(ticket, &rooms(names), &wake, Millis(now)).map(|()| wake)
}

fn why<T>(refused: Result<T, Refused>) -> String {
    let refused = refused.err().expect("refused");
    assert_eq!(refused.code, ErrorCode::TicketRefused);
    refused.message.into()
}

#[test]
fn a_ticket_is_used_in_time_and_then_lasts_as_long_as_its_token() {
    let tickets = tickets(|_| {});
    let (used, late) = (issue(&tickets, Purpose::Events), issue(&tickets, Purpose::Events));
    open(&tickets, &used, &["a"], 29_999.0).unwrap();
    assert!(why(open(&tickets, &late, &["a"], 30_000.0)).contains("not used in time"));
    open(&tickets, &used, &["a"], HOUR - 1.0).unwrap();
    assert!(why(open(&tickets, &used, &["a"], HOUR)).contains("expired"));
    let over = tickets.issue(Purpose::Events, grant("ada", HOUR), page(PAGE), Millis(HOUR));
    assert_eq!(over, Err(ErrorCode::TokenExpired));
}

#[test]
fn it_opens_one_subscription_and_the_newest_of_it_stays() {
    let tickets = tickets(|_| {});
    let ticket = issue(&tickets, Purpose::Events);
    let first = open(&tickets, &ticket, &["a", "b"], 0.0).unwrap();
    assert!(why(open(&tickets, &ticket, &["a"], 1.0)).contains("other rooms"));
    assert!(why(open(&tickets, &ticket, &["a", "b", "c"], 1.0)).contains("other rooms"));
    assert_eq!(first.ended(), None, "what is refused ends nothing");
    let second = open(&tickets, &ticket, &["b", "a"], 2.0).unwrap();
    assert_eq!((first.ended(), second.ended()), (Some(ErrorCode::TicketRefused), None));
}

#[test]
fn it_is_good_for_one_door_one_page_and_only_if_it_exists() {
    let tickets = tickets(|_| {});
    let ticket = issue(&tickets, Purpose::Events);
    let ask = |purpose, home: &Home| tickets.grant(&ticket, purpose, home, Millis(0.0));
    assert!(why(ask(Purpose::Poll, &page(PAGE))).contains("`events`"));
    assert!(why(tickets.spend(&ticket, &page(PAGE), Millis(0.0))).contains("`events`"));
    assert!(why(ask(Purpose::Events, &page("https://evil.example"))).contains("another origin"));
    assert!(why(ask(Purpose::Events, &Home::default())).contains("another origin"), "nor to who says nothing");
    assert_eq!(ask(Purpose::Events, &page(PAGE)).unwrap().user.as_str(), "ada");
    for text in ["", "a", &ticket[1..], &format!("{ticket}A"), &"A".repeat(43), &"A".repeat(100_000), "ü"] {
        assert!(why(tickets.grant(text, Purpose::Events, &page(PAGE), Millis(0.0))).contains("no such"), "{text}");
    }
}

#[test]
fn pages_of_the_server_itself_send_no_origin_when_they_read() {
    let (own, foreign) = (Home { origin: None, is_own: true }, Home::default());
    let issued_to = |home: Home| move |asking: &Home| home.takes(asking);
    let of_page = issued_to(Home { is_own: true, ..page(PAGE) });
    assert!(of_page(&page(PAGE)) && of_page(&own));
    assert!(!of_page(&foreign) && !of_page(&page("https://evil.example")));
    let of_other = issued_to(page(PAGE));
    assert!(!of_other(&own), "a page of the server is not that page");
    let of_program = issued_to(Home::default());
    assert!(of_program(&foreign) && !of_program(&page(PAGE)));
}

#[test]
fn a_websocket_uses_it_up() {
    let tickets = tickets(|_| {});
    let (ticket, expires) = tickets.issue(Purpose::WebSocket, grant("ada", HOUR), page(PAGE), Millis(0.0)).unwrap();
    assert_eq!(expires, Millis(30_000.0));
    assert!(why(tickets.spend(&ticket, &page("https://evil.example"), Millis(0.0))).contains("another origin"));
    assert_eq!(tickets.spend(&ticket, &page(PAGE), Millis(1.0)).unwrap().user.as_str(), "ada");
    assert!(why(tickets.spend(&ticket, &page(PAGE), Millis(1.0))).contains("no such"));
    assert_eq!(tickets.metrics.tickets.get(), 0);
}

#[test]
fn a_new_token_prolongs_what_the_old_one_opened() {
    let tickets = tickets(|_| {});
    let ticket = issue(&tickets, Purpose::Events);
    open(&tickets, &ticket, &["a"], 0.0).unwrap();
    let renew =
        |user, home: &Home| tickets.renew(&ticket, Purpose::Events, grant(user, 2.0 * HOUR), home, Millis(HOUR / 2.0));
    assert!(why(renew("bob", &page(PAGE))).contains("another user"));
    assert!(why(renew("ada", &page("https://evil.example"))).contains("another origin"));
    assert_eq!(renew("ada", &page(PAGE)).unwrap(), Millis(2.0 * HOUR));
    open(&tickets, &ticket, &["a"], 1.5 * HOUR).unwrap();
    assert!(why(open(&tickets, &ticket, &["b"], 1.5 * HOUR)).contains("other rooms"));
    open(&tickets, &ticket, &["a"], 2.0 * HOUR).unwrap_err();
    let ended = tickets.renew(&ticket, Purpose::Events, grant("ada", 9.0 * HOUR), &page(PAGE), Millis(2.0 * HOUR));
    assert!(why(ended).contains("expired"), "nothing brings it back");
}

#[test]
fn of_a_users_tickets_the_one_without_use_goes_first_and_a_node_has_so_many() {
    let tickets = tickets(|limits| (limits.tickets, limits.tickets_per_user) = (4, 3));
    let mine: Vec<_> = (0..3).map(|_| issue(&tickets, Purpose::Events)).collect();
    // The oldest is in use, so the second is the one to do without.
    let wake = open(&tickets, &mine[0], &["a"], 0.0).unwrap();
    let fourth = issue(&tickets, Purpose::Events);
    assert!(why(open(&tickets, &mine[1], &["a"], 0.0)).contains("no such"));
    for ticket in [&mine[0], &mine[2], &fourth] {
        tickets.grant(ticket, Purpose::Events, &page(PAGE), Millis(0.0)).unwrap();
    }
    drop(wake);
    let of_others = |now| tickets.issue(Purpose::Poll, grant("bob", HOUR), page(PAGE), Millis(now)).map(|_| ());
    assert_eq!((of_others(0.0), of_others(0.0)), (Ok(()), Err(ErrorCode::Overloaded)));
    // Those that nobody used make room when their time is over.
    assert_eq!(of_others(30_000.0), Ok(()));
    assert_eq!(tickets.metrics.tickets.get(), 2, "the one in use, and the new one");
    tickets.revoke(&UserName::new("ada").unwrap());
    assert!(why(tickets.grant(&mine[0], Purpose::Events, &page(PAGE), Millis(1.0))).contains("no such"));
    assert_eq!((tickets.metrics.tickets.get(), tickets.book.lock().of_users.len()), (1, 1));
}
