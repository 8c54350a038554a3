//! Who may be believed: boot numbers, counters, addresses.
//!
//! ```text
//!   A (restarted, or new)                                        B
//!     │ Hello   nonce a                                          │
//!     │─────────────────────────────────────────────────────────▶│ answered at a bounded rate, believed in nothing
//!     │                             Welcome  echo a, nonce b     │
//!     │◀─────────────────────────────────────────────────────────│
//!   knows B's boot number: the echo is fresh                     │
//!     │ Welcome  echo b                                          │
//!     │─────────────────────────────────────────────────────────▶│ knows A's boot number
//!     │ Ping, Gossip, ...: both boot numbers, a counter          │ A's earlier life is over for good
//! ```
//! A datagram counts only if it comes from the address that the API gives for its sender, names our present boot number and
//! the sender's, and its counter is new. Both numbers were learned as answers to random nonces, so a datagram recorded before
//! either side restarted names a number that is not valid any more, and one that was held back during a restart does too. A
//! datagram that does not count makes us ask its sender who it is, at a bounded rate, and changes nothing else.

use std::net::SocketAddr;

use crate::core::{Core, Dropped, Loss, Output};
use crate::name::NodeName;
use crate::peer::{Session, Standing};
use crate::replay::Window;
use crate::time::Millis;
use crate::wire::{Body, Kind, Message};

impl Core {
    pub(crate) fn receive(&mut self, now: Millis, from: SocketAddr, bytes: &[u8], out: &mut Vec<Output>) {
        let taken = match Message::decode(bytes) {
            Ok(message) => self.take(now, from, message, out),
            Err(_) => Err(Dropped::Malformed),
        };
        if let Err(reason) = taken {
            out.push(Output::Dropped(reason));
        }
    }

    fn take(&mut self, now: Millis, from: SocketAddr, message: Message, out: &mut Vec<Output>) -> Result<(), Dropped> {
        let Message { sender, boot, receiver_boot, counter, body } = message;
        if sender == self.me {
            return Err(Dropped::Ourselves);
        }
        let peer = self.peers.get(&sender).ok_or(Dropped::Stranger)?;
        if peer.addr != from {
            return Err(Dropped::WrongAddress);
        }
        match body {
            Body::Hello { nonce } => {
                self.welcome(now, &sender, boot, nonce, out);
                Ok(())
            }
            Body::Welcome { echo, nonce } => self.establish(now, &sender, (boot, counter), (echo, nonce), out),
            Body::Ping { .. } | Body::Ack { .. } | Body::Gossip { .. } | Body::Pull | Body::Leave => {
                self.check(now, &sender, (boot, counter), receiver_boot, out)?;
                self.believe(now, &sender, counter, body, out);
                Ok(())
            }
        }
    }

    /// Answers who we are; and asks back when the asker is in a life that we do not know.
    fn welcome(&mut self, now: Millis, to: &NodeName, boot: u64, echo: u64, out: &mut Vec<Output>) {
        let fresh = self.dice.number();
        let Some(peer) = self.peers.get_mut(to) else { return };
        if !peer.replies.take(now) {
            return;
        }
        let known = peer.session.as_ref().is_some_and(|session| session.boot == boot);
        let nonce = if known { 0 } else { peer.ask(now, fresh) };
        self.send(to, Body::Welcome { echo, nonce }, out);
    }

    /// Asks who a peer is.
    pub(crate) fn greet(&mut self, now: Millis, to: &NodeName, out: &mut Vec<Output>) {
        let fresh = self.dice.number();
        let Some(peer) = self.peers.get_mut(to) else { return };
        let nonce = peer.ask(now, fresh);
        self.send(to, Body::Hello { nonce }, out);
    }

    /// Takes in the answer who a peer is.
    fn establish(
        &mut self,
        now: Millis,
        from: &NodeName,
        (boot, counter): (u64, u64),
        (echo, nonce): (u64, u64),
        out: &mut Vec<Output>,
    ) -> Result<(), Dropped> {
        let peer = self.peers.get_mut(from).ok_or(Dropped::Stranger)?;
        // Answering needs no belief: a question that is not fresh gets an answer that is of no use.
        let answer_back = nonce != 0 && peer.replies.take(now);
        let answers_us = peer.is_answer(now, echo);
        if answers_us {
            match &mut peer.session {
                // Not a new window: it would take what this one has taken already.
                Some(session) if session.boot == boot => {
                    session.window.take(counter);
                }
                _ => {
                    peer.begin_life(boot);
                    peer.session = Some(Session { boot, window: Window::starting_at(counter) });
                }
            }
            self.hear(now, from, counter);
        }
        if answer_back {
            self.send(from, Body::Welcome { echo: nonce, nonce: 0 }, out);
        }
        if !answers_us {
            return Err(Dropped::Unasked);
        }
        if self.first_pulls > 0 {
            self.first_pulls -= 1;
            self.send(from, Body::Pull, out);
        }
        Ok(())
    }

    /// Whether a datagram is from the present life of its sender to our present life, and new.
    fn check(
        &mut self,
        now: Millis,
        from: &NodeName,
        (boot, counter): (u64, u64),
        receiver_boot: u64,
        out: &mut Vec<Output>,
    ) -> Result<(), Dropped> {
        let peer = self.peers.get_mut(from).ok_or(Dropped::Stranger)?;
        let refused = if receiver_boot != self.boot {
            Dropped::WrongReceiver
        } else {
            match &mut peer.session {
                Some(session) if session.boot == boot => {
                    return if session.window.take(counter) { Ok(()) } else { Err(Dropped::Replayed) };
                }
                _ => Dropped::WrongSender,
            }
        };
        if peer.replies.take(now) {
            self.greet(now, from, out);
        }
        Err(refused)
    }

    /// Takes in what a member says, after [`Core::check`].
    fn believe(&mut self, now: Millis, from: &NodeName, counter: u64, body: Body, out: &mut Vec<Output>) {
        if let Body::Leave = body {
            self.part(from, counter);
            return;
        }
        self.hear(now, from, counter);
        let news = match body {
            Body::Ping { stamp, news } => {
                let told = self.news_to_add();
                self.send(from, Body::Ack { stamp, news: told }, out);
                news
            }
            Body::Ack { stamp, news } => {
                self.answered = true;
                if let Some(peer) = self.peers.get_mut(from) {
                    peer.answers.measure(now.since(Millis(stamp)));
                }
                news
            }
            Body::Gossip { news } => news,
            Body::Pull => {
                self.tell_all_alive(now, from, out);
                Vec::new()
            }
            Body::Hello { .. } | Body::Welcome { .. } | Body::Leave => Vec::new(),
        };
        for piece in news {
            self.learn(now, from, piece, out);
        }
    }

    /// A member was heard: the best proof of life there is.
    fn hear(&mut self, now: Millis, from: &NodeName, counter: u64) {
        let Some(peer) = self.peers.get_mut(from) else { return };
        peer.heard_at = Some(now);
        peer.seen = peer.seen.max(counter);
        peer.probe = None;
        self.busy.remove(from);
        let was = peer.standing;
        if was == Standing::Left || was == Standing::Alive {
            return;
        }
        peer.standing = Standing::Alive;
        self.settle(from, Loss::Suspected);
        // Whoever was never heard will be heard by the others as well; whoever was doubted is defended at once.
        self.spread(Kind::Alive, from, was != Standing::Unknown);
    }

    /// A member says that it goes.
    fn part(&mut self, who: &NodeName, counter: u64) {
        let Some(peer) = self.peers.get_mut(who) else { return };
        peer.seen = peer.seen.max(counter);
        if peer.standing == Standing::Left {
            return;
        }
        peer.standing = Standing::Left;
        self.settle(who, Loss::Left);
        self.spread(Kind::Left, who, true);
    }
}
