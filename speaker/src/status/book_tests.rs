//! What is written, step by step, and that it ends.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use proptest::prelude::*;

use super::*;

fn key(name: &str) -> ServiceKey {
    ServiceKey { namespace: "default".to_owned(), name: name.to_owned() }
}

fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

fn identity(node: &str) -> Identity {
    let owner = OwnerReference { uid: format!("pod-of-{node}"), ..OwnerReference::default() };
    Identity { node: node.to_owned(), owner: Some(owner) }
}

/// The object of a node about a Service, complete.
fn object(node: &str, service: &str, interfaces: &[&str]) -> Seen {
    let identity = identity(node);
    Seen {
        name: identity.name(&key(service)),
        uid: format!("uid-{node}-{service}"),
        version: 1,
        ending: false,
        labels: Named::of(node, &key(service)),
        status: Named::of(node, &key(service)),
        interfaces: interfaces.iter().map(|name| (*name).to_owned()).collect(),
        owners: names(&[&format!("pod-of-{node}")]),
    }
}

fn listed(book: &mut Book, objects: Vec<Seen>) {
    book.watched(Event::Init);
    objects.into_iter().for_each(|seen| book.watched(Event::InitApply(seen)));
    book.watched(Event::InitDone);
}

/// The book of node-a with everything known once.
fn book(objects: Vec<Seen>, stands: Vec<(&str, Stand)>) -> Book {
    let mut book = Book::new(identity("node-a"));
    stands.into_iter().for_each(|(service, stand)| book.stand(key(service), Some(stand)));
    book.live(names(&["node-a", "node-b"]));
    listed(&mut book, objects);
    book
}

fn ours() -> Stand {
    Stand::Ours(Vec::new())
}

/// An apiserver as far as these objects concern it.
#[derive(Default)]
struct Server {
    objects: BTreeMap<String, Seen>,
    version: u64,
}

impl Server {
    /// Does a write and tells the book, as the answer and as the watch.
    fn serve(&mut self, book: &mut Book, service: &ServiceKey, write: &Write) {
        self.version += 1;
        let version = self.version;
        match write {
            Write::Create { name } => {
                assert!(!self.objects.contains_key(name), "{name} is there already");
                let uid = format!("uid-{version}");
                let owners = book.identity().owner.iter().map(|owner| owner.uid.clone()).collect();
                let seen = Seen { name: name.clone(), uid, version, owners, ..Seen::default() };
                self.objects.insert(name.clone(), seen);
            }
            Write::Fill { name, interfaces } => {
                let seen = self.objects.get_mut(name).unwrap();
                let status = Named::of(&book.identity().node, service);
                assert!(!seen.status.contradicts(&status), "these fields are immutable");
                (seen.status, seen.interfaces, seen.version) = (status, interfaces.clone(), version);
            }
            Write::Describe { name } => {
                let seen = self.objects.get_mut(name).unwrap();
                seen.labels = book.identity().labels(service);
                seen.owners = book.identity().owner.iter().map(|owner| owner.uid.clone()).collect();
                seen.version = version;
            }
            Write::Delete { name, uid } => {
                assert_eq!(self.objects.remove(name).map(|seen| seen.uid).as_ref(), Some(uid));
                book.gone(name);
                return;
            }
        }
        let (Write::Create { name } | Write::Fill { name, .. } | Write::Describe { name }) = write else { return };
        book.stored(self.objects[name].clone());
    }

    /// Writes until nothing is left to write; returns the writes.
    fn settle(&mut self, book: &mut Book) -> Vec<Write> {
        let mut writes = Vec::new();
        loop {
            let due = book.due();
            if due.is_empty() {
                return writes;
            }
            for service in due {
                while let Some(write) = book.difference(&service) {
                    assert!(writes.len() < 100, "it does not end: {writes:?}");
                    self.serve(book, &service, &write);
                    writes.push(write);
                }
            }
        }
    }

    fn of(objects: Vec<Seen>) -> Self {
        Self { objects: objects.into_iter().map(|seen| (seen.name.clone(), seen)).collect(), version: 10 }
    }
}

#[test]
fn an_object_gets_its_labels_last_so_that_nobody_finds_it_empty() {
    let mut book = book(vec![], vec![("web", Stand::Ours(vec!["eth0".to_owned()]))]);
    let mut server = Server::default();
    let name = book.identity().name(&key("web"));
    let writes = server.settle(&mut book);
    assert_eq!(
        writes,
        [
            Write::Create { name: name.clone() },
            Write::Fill { name: name.clone(), interfaces: vec!["eth0".to_owned()] },
            Write::Describe { name: name.clone() },
        ]
    );
    assert_eq!(server.objects[&name].status, Named::of("node-a", &key("web")));
    assert_eq!(server.settle(&mut book), [], "nothing is left to do");
}

#[test]
fn nothing_is_written_before_the_first_list_and_the_first_decisions() {
    let mut book = Book::new(identity("node-a"));
    book.stand(key("web"), Some(ours()));
    listed(&mut book, vec![object("node-a", "old", &[])]);
    assert!(book.due().is_empty(), "the decisions of the start are not complete");
    book.live(names(&["node-a"]));
    assert_eq!(book.due(), BTreeSet::from([key("old"), key("web")]));
    let mut early = Book::new(identity("node-a"));
    early.live(names(&["node-a"]));
    early.stand(key("web"), Some(ours()));
    assert!(early.due().is_empty(), "what is stored is not known");
}

#[test]
fn what_an_earlier_life_left_is_removed_and_what_still_holds_is_kept_without_a_write() {
    let stored = vec![object("node-a", "old", &[]), object("node-a", "web", &["eth0"])];
    let mut server = Server::of(stored.clone());
    let mut book = book(stored, vec![("web", Stand::Ours(vec!["eth0".to_owned()])), ("old", Stand::Others)]);
    let left = object("node-a", "old", &[]);
    assert_eq!(server.settle(&mut book), [Write::Delete { name: left.name, uid: left.uid }]);
}

#[test]
fn an_unfinished_object_of_an_earlier_life_is_finished_or_removed() {
    let unfinished = |service: &str| {
        let whole = object("node-a", service, &[]);
        Seen { labels: Named::default(), status: Named::default(), ..whole }
    };
    let stored = vec![unfinished("web"), unfinished("gone")];
    let mut server = Server::of(stored.clone());
    let mut book = book(stored, vec![("web", ours())]);
    let writes = server.settle(&mut book);
    let name = |service: &str| identity("node-a").name(&key(service));
    let filled = Write::Fill { name: name("web"), interfaces: Vec::new() };
    let removed = Write::Delete { name: name("gone"), uid: "uid-node-a-gone".to_owned() };
    assert!(writes.contains(&filled) && writes.contains(&removed) && writes.len() == 3, "{writes:?}");
}

#[test]
fn whoever_takes_over_removes_what_the_node_before_left_before_its_own_can_be_found() {
    let stored = vec![object("node-b", "web", &[])];
    let mut server = Server::of(stored.clone());
    let mut book = book(stored, vec![("web", ours())]);
    let left = object("node-b", "web", &[]);
    let writes = server.settle(&mut book);
    assert_eq!(writes[2], Write::Delete { name: left.name, uid: left.uid });
    assert!(matches!(writes[3], Write::Describe { .. }) && writes.len() == 4);
    assert_eq!(server.objects.len(), 1);
}

#[test]
fn giving_up_a_service_deletes_its_object_once() {
    let stored = vec![object("node-a", "web", &[])];
    let mut server = Server::of(stored.clone());
    let mut book = book(stored, vec![("web", ours())]);
    assert_eq!(server.settle(&mut book), []);
    book.stand(key("web"), Some(Stand::Others));
    assert!(matches!(server.settle(&mut book).as_slice(), [Write::Delete { .. }]));
    // The watch lags: it shows the object once more, and then its end.
    book.watched(Event::Apply(object("node-a", "web", &[])));
    assert_eq!(server.settle(&mut book), []);
    book.watched(Event::Delete(object("node-a", "web", &[])));
    assert_eq!(server.settle(&mut book), []);
}

#[test]
fn what_somebody_deletes_or_edits_is_put_right() {
    let whole = object("node-a", "web", &["eth0"]);
    let settled = || {
        let mut book = book(vec![whole.clone()], vec![("web", Stand::Ours(vec!["eth0".to_owned()]))]);
        assert_eq!(Server::of(vec![whole.clone()]).settle(&mut book), []);
        book
    };
    let mut edits: Vec<(Seen, Vec<&str>)> = Vec::new();
    let edited = |change: fn(&mut Seen)| {
        let mut seen = Seen { version: 5, ..whole.clone() };
        change(&mut seen);
        seen
    };
    edits.push((edited(|seen| seen.interfaces.clear()), vec!["Fill"]));
    edits.push((edited(|seen| seen.status = Named::default()), vec!["Fill"]));
    edits.push((edited(|seen| seen.labels.node = None), vec!["Describe"]));
    edits.push((edited(|seen| seen.labels.service = Some("other".to_owned())), vec!["Describe"]));
    edits.push((edited(|seen| seen.owners = BTreeSet::new()), vec!["Describe"]));
    edits.push((
        edited(|seen| seen.status.service = Some("other".to_owned())),
        vec!["Delete", "Create", "Fill", "Describe"],
    ));
    for (edit, expected) in edits {
        let (mut book, mut server) = (settled(), Server::of(vec![edit.clone()]));
        book.watched(Event::Apply(edit.clone()));
        let writes = server.settle(&mut book);
        let kinds: Vec<String> = writes.iter().map(|write| format!("{write:?}")).collect();
        assert_eq!(kinds.len(), expected.len(), "{edit:?}: {kinds:?}");
        assert!(kinds.iter().zip(&expected).all(|(kind, expected)| kind.starts_with(expected)), "{kinds:?}");
    }
    let mut book = settled();
    book.watched(Event::Delete(whole.clone()));
    assert_eq!(Server::default().settle(&mut book).len(), 3);
}

#[test]
fn objects_of_other_nodes_are_left_alone_while_these_can_act_themselves() {
    let stored = || vec![object("node-b", "web", &[]), object("node-b", "gone", &[])];
    let mut book = book(stored(), vec![("web", Stand::Others)]);
    assert_eq!(Server::of(stored()).settle(&mut book), []);
}

#[test]
fn what_a_dead_node_left_for_a_service_that_is_gone_is_removed_by_one_speaker() {
    let live = names(&["node-a", "node-b"]);
    let deleting = |node: &str| {
        let mut book = Book::new(identity(node));
        book.live(live.clone());
        listed(&mut book, vec![object("node-x", "gone", &[])]);
        book.difference(&key("gone")).is_some()
    };
    assert_eq!(live.iter().filter(|node| deleting(node)).count(), 1);
}

#[test]
fn what_is_left_of_a_service_that_certainly_nobody_announces_is_removed() {
    let stored = vec![object("node-b", "web", &[])];
    let mut server = Server::of(stored.clone());
    let mut book = book(stored, vec![("web", Stand::Nobody)]);
    assert_eq!(server.settle(&mut book).len(), 1);
    assert!(server.objects.is_empty());
}

#[test]
fn an_object_that_a_finalizer_holds_is_waited_for() {
    let ending = Seen { ending: true, ..object("node-a", "web", &[]) };
    let mut announced = book(vec![ending.clone()], vec![("web", ours())]);
    assert_eq!(Server::of(vec![ending.clone()]).settle(&mut announced), []);
    let mut given_up = book(vec![ending.clone()], vec![("web", Stand::Others)]);
    assert_eq!(Server::of(vec![ending.clone()]).settle(&mut given_up), []);
    announced.watched(Event::Delete(ending));
    assert_eq!(Server::default().settle(&mut announced).len(), 3);
}

#[test]
fn an_old_event_does_not_undo_what_an_answer_told() {
    let mut book = book(vec![], vec![("web", ours())]);
    let mut server = Server::of(vec![]);
    server.settle(&mut book);
    let newest = server.objects.values().next().unwrap().clone();
    book.watched(Event::Apply(Seen { version: newest.version - 1, labels: Named::default(), ..newest }));
    assert_eq!(server.settle(&mut book), []);
}

#[test]
fn an_answer_that_is_read_after_the_end_of_its_object_does_not_bring_it_back() {
    let whole = object("node-a", "web", &[]);
    let mut book = book(vec![whole.clone()], vec![("web", ours())]);
    book.watched(Event::Delete(Seen { version: 7, ..whole.clone() }));
    book.stored(Seen { version: 6, ..whole });
    assert!(matches!(book.difference(&key("web")), Some(Write::Create { .. })));
}

proptest! {
    /// Whatever two speakers decided and whatever lay around: in the end each announced Service has the one object of its node,
    /// complete, and nothing is left to write.
    #[test]
    fn every_history_ends_with_one_object_per_announced_service(
        steps in prop::collection::vec((0u8..2, 0u8..3, 0u8..4), 1..40),
    ) {
        let mut server = Server::default();
        let mut books = [Book::new(identity("node-a")), Book::new(identity("node-b"))];
        for book in &mut books {
            book.live(names(&["node-a", "node-b"]));
            listed(book, vec![]);
        }
        let mut owners: BTreeMap<ServiceKey, usize> = BTreeMap::new();
        for (node, service, what) in steps {
            let (node, service) = (usize::from(node), key(&format!("s{service}")));
            match what {
                0 | 1 => {
                    // The owner changes: the one that gives up hears of it first or last.
                    owners.insert(service.clone(), node);
                    let mut order = [0, 1];
                    order.rotate_left(usize::from(what));
                    for one in order {
                        let stand = if one == node { ours() } else { Stand::Others };
                        books[one].stand(service.clone(), Some(stand));
                        server.settle(&mut books[one]);
                        sync(&server, &mut books);
                    }
                }
                2 => {
                    owners.remove(&service);
                    books.iter_mut().for_each(|book| book.stand(service.clone(), None));
                }
                // Somebody deletes what is there.
                _ => {
                    let name = books[node].identity().name(&service);
                    server.objects.remove(&name);
                    sync(&server, &mut books);
                }
            }
        }
        for _ in 0..3 {
            for node in 0..2 {
                server.settle(&mut books[node]);
                sync(&server, &mut books);
            }
        }
        let found: BTreeMap<ServiceKey, usize> = server
            .objects
            .values()
            .map(|seen| (seen.service(), usize::from(seen.node() == Some("node-b"))))
            .collect();
        prop_assert_eq!(found, owners.clone());
        prop_assert_eq!(server.objects.len(), owners.len());
        prop_assert!(server.objects.values().all(|seen| seen.labels == seen.status && seen.owners.len() == 1));
        for book in &mut books {
            prop_assert_eq!(server.settle(book), []);
        }
    }
}

/// Both see what is stored.
fn sync(server: &Server, books: &mut [Book; 2]) {
    for book in books {
        listed(book, server.objects.values().cloned().collect());
    }
}
