//! The message inside a sealed datagram. Integers are big-endian.
//!
//! ```text
//!  kind 1 │ sender's boot 8 │ receiver's boot 8 │ counter 8 │ length 1 │ sender's name │ body
//!
//!  Hello    nonce 8                who are you?
//!  Welcome  echo 8, nonce 8        I am who the header says; and, if nonce is not 0, who are you?
//!  Ping     stamp 8, news          answer this
//!  Ack      stamp 8, news          the answer, with the stamp of the ping
//!  Gossip   news
//!  Pull                            tell me whom you know to be alive
//!  Leave                           I am going
//!
//!  news: to the end, each   kind 1 │ boot 8 │ counter 8 │ length 1 │ name
//! ```
//! A message is taken only if it is exactly so: no byte missing, none left over.

use crate::name::NodeName;
use crate::seal;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who sends it.
    pub sender: NodeName,
    /// The sender's boot number, new with each start of its process.
    pub boot: u64,
    /// The receiver's boot number as the sender knows it; 0 when it does not.
    pub receiver_boot: u64,
    /// Higher than in every message that this sender sent before in this life, to whomever.
    pub counter: u64,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Asks for the receiver's boot number.
    Hello {
        /// Comes back in the answer, so that an older answer is not taken for it.
        nonce: u64,
    },
    /// Answers [`Body::Hello`].
    Welcome {
        /// The nonce of the question.
        echo: u64,
        /// A question in return; 0 for none.
        nonce: u64,
    },
    /// Asks for a sign of life.
    Ping {
        /// The sender's clock, in milliseconds.
        stamp: u64,
        /// What else there is to tell.
        news: Vec<News>,
    },
    /// Answers [`Body::Ping`].
    Ack {
        /// The stamp of the ping.
        stamp: u64,
        /// What else there is to tell.
        news: Vec<News>,
    },
    /// Tells something.
    Gossip {
        /// What there is to tell.
        news: Vec<News>,
    },
    /// Asks for everybody that the receiver knows to be alive.
    Pull,
    /// The sender leaves.
    Leave,
}

/// What is said of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// What happened.
    pub kind: Kind,
    /// Of whom.
    pub about: NodeName,
    /// In which life of it.
    pub boot: u64,
    /// The highest counter heard from it in that life.
    pub counter: u64,
}

/// What can happen to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It was heard, last with this counter.
    Alive,
    /// It does not answer, and nothing is known of it that is newer than this counter.
    Suspect,
    /// It said that it leaves.
    Left,
}

/// Bytes that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a message of this protocol")]
pub struct Malformed;

impl News {
    fn length(&self) -> usize {
        1 + 8 + 8 + 1 + self.about.as_str().len()
    }

    /// Takes from the front of `news` what fits one datagram of `sender`; at least one piece, if there is any.
    pub(crate) fn fill(sender: &NodeName, news: &mut impl Iterator<Item = Self>) -> Vec<Self> {
        let largest = 1 + 8 + 8 + 1 + NodeName::LONGEST;
        let mut room = seal::ROOM - (1 + 3 * 8 + 1 + sender.as_str().len() + 8);
        let mut taken = Vec::new();
        // Stopping while the largest still fits keeps this a plain loop: nothing taken has to be given back.
        while room >= largest {
            let Some(piece) = news.next() else { break };
            room -= piece.length();
            taken.push(piece);
        }
        taken
    }
}

impl Message {
    /// The message as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128);
        bytes.push(self.body.code());
        put_number(&mut bytes, self.boot);
        put_number(&mut bytes, self.receiver_boot);
        put_number(&mut bytes, self.counter);
        put_name(&mut bytes, &self.sender);
        match &self.body {
            Body::Hello { nonce } => put_number(&mut bytes, *nonce),
            Body::Welcome { echo, nonce } => {
                put_number(&mut bytes, *echo);
                put_number(&mut bytes, *nonce);
            }
            Body::Ping { stamp, news } | Body::Ack { stamp, news } => {
                put_number(&mut bytes, *stamp);
                put_news(&mut bytes, news);
            }
            Body::Gossip { news } => put_news(&mut bytes, news),
            Body::Pull | Body::Leave => {}
        }
        bytes
    }

    /// Reads a message. Fails on anything that [`Message::encode`] would not have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        let code = reader.byte()?;
        let (boot, receiver_boot, counter) = (reader.number()?, reader.number()?, reader.number()?);
        let sender = reader.name()?;
        let body = match code {
            1 => Body::Hello { nonce: reader.number()? },
            2 => Body::Welcome { echo: reader.number()?, nonce: reader.number()? },
            3 => Body::Ping { stamp: reader.number()?, news: reader.news()? },
            4 => Body::Ack { stamp: reader.number()?, news: reader.news()? },
            5 => Body::Gossip { news: reader.news()? },
            6 => Body::Pull,
            7 => Body::Leave,
            _ => return Err(Malformed),
        };
        if !reader.0.is_empty() || boot == 0 {
            return Err(Malformed);
        }
        Ok(Self { sender, boot, receiver_boot, counter, body })
    }
}

impl Body {
    fn code(&self) -> u8 {
        match self {
            Self::Hello { .. } => 1,
            Self::Welcome { .. } => 2,
            Self::Ping { .. } => 3,
            Self::Ack { .. } => 4,
            Self::Gossip { .. } => 5,
            Self::Pull => 6,
            Self::Leave => 7,
        }
    }
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Alive => 1,
            Self::Suspect => 2,
            Self::Left => 3,
        }
    }
}

fn put_number(bytes: &mut Vec<u8>, number: u64) {
    bytes.extend_from_slice(&number.to_be_bytes());
}

fn put_name(bytes: &mut Vec<u8>, name: &NodeName) {
    let name = name.as_str().as_bytes();
    // A NodeName has at most 253 bytes.
    bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(name);
}

fn put_news(bytes: &mut Vec<u8>, news: &[News]) {
    for piece in news {
        bytes.push(piece.kind.code());
        put_number(bytes, piece.boot);
        put_number(bytes, piece.counter);
        put_name(bytes, &piece.about);
    }
}

/// What is not read yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> Result<u64, Malformed> {
        let bytes = self.take(8)?.try_into().map_err(|_| Malformed)?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn name(&mut self) -> Result<NodeName, Malformed> {
        let length = self.byte()?;
        let text = std::str::from_utf8(self.take(length.into())?).map_err(|_| Malformed)?;
        NodeName::new(text).map_err(|_| Malformed)
    }

    fn news(&mut self) -> Result<Vec<News>, Malformed> {
        let mut news = Vec::new();
        while !self.0.is_empty() {
            let kind = match self.byte()? {
                1 => Kind::Alive,
                2 => Kind::Suspect,
                3 => Kind::Left,
                _ => return Err(Malformed),
            };
            let (boot, counter) = (self.number()?, self.number()?);
            if boot == 0 {
                return Err(Malformed);
            }
            news.push(News { kind, about: self.name()?, boot, counter });
        }
        Ok(news)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names() -> impl Strategy<Value = NodeName> {
        prop_oneof!["[a-z][a-z0-9.-]{0,20}", "[a-z]{253}"].prop_map(|name| NodeName::new(&name).unwrap())
    }

    fn news() -> impl Strategy<Value = Vec<News>> {
        let kinds = prop_oneof![Just(Kind::Alive), Just(Kind::Suspect), Just(Kind::Left)];
        let piece = (kinds, names(), 1_u64.., any::<u64>()).prop_map(|(kind, about, boot, counter)| News {
            kind,
            about,
            boot,
            counter,
        });
        prop::collection::vec(piece, 0..60)
    }

    fn messages() -> impl Strategy<Value = Message> {
        let bodies = prop_oneof![
            any::<u64>().prop_map(|nonce| Body::Hello { nonce }),
            any::<(u64, u64)>().prop_map(|(echo, nonce)| Body::Welcome { echo, nonce }),
            (any::<u64>(), news()).prop_map(|(stamp, news)| Body::Ping { stamp, news }),
            (any::<u64>(), news()).prop_map(|(stamp, news)| Body::Ack { stamp, news }),
            news().prop_map(|news| Body::Gossip { news }),
            Just(Body::Pull),
            Just(Body::Leave),
        ];
        (names(), 1_u64.., any::<u64>(), any::<u64>(), bodies).prop_map(
            |(sender, boot, receiver_boot, counter, body)| Message { sender, boot, receiver_boot, counter, body },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_written_is_read_back(message in messages()) {
            prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
        }

        #[test]
        fn any_bytes_are_refused_or_are_what_would_have_been_written(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(message) = Message::decode(&bytes) {
                prop_assert_eq!(message.encode(), bytes);
            }
        }

        #[test]
        fn a_changed_byte_is_refused_or_reads_as_what_it_says(
            message in messages(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let mut bytes = message.encode();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(message) = Message::decode(&bytes) {
                prop_assert_eq!(message.encode(), bytes);
            }
        }

        #[test]
        fn news_that_was_filled_in_fits_a_datagram(sender in names(), news in news()) {
            let all = news.clone();
            let mut rest = news.into_iter();
            let mut told = Vec::new();
            loop {
                let filled = News::fill(&sender, &mut rest);
                if filled.is_empty() {
                    break;
                }
                told.extend(filled.clone());
                let body = Body::Ping { stamp: 0, news: filled };
                let message = Message { sender: sender.clone(), boot: 1, receiver_boot: 1, counter: 1, body };
                prop_assert!(message.encode().len() <= seal::ROOM);
            }
            prop_assert_eq!(told, all, "nothing is lost and the order is kept");
        }
    }

    #[test]
    fn truncated_messages_are_refused() {
        let news = vec![News { kind: Kind::Left, about: NodeName::new("b").unwrap(), boot: 5, counter: 6 }];
        let sender = NodeName::new("a").unwrap();
        let message = Message { sender, boot: 1, receiver_boot: 2, counter: 3, body: Body::Ping { stamp: 4, news } };
        let bytes = message.encode();
        let whole = [bytes.len(), bytes.len() - 19];
        for length in (0..=bytes.len()).filter(|length| !whole.contains(length)) {
            assert_eq!(Message::decode(&bytes[..length]), Err(Malformed), "{length} bytes");
        }
    }
}
