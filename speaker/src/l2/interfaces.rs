//! The node's interfaces, as the kernel reports them. The only file that knows netlink.
//!
//! ```text
//! netlink event (link, IPv6 address) --"something changed"--> dump of all links and addresses --> Vec<Link>
//! ```
//! Events only say when to look; what is there comes from a dump. So lost, partial or foreign events (bridges report
//! their ports as links, too) cannot leave a wrong picture.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context;
use futures::channel::mpsc::UnboundedReceiver;
use futures::{StreamExt, TryStreamExt};
use rtnetlink::packet_core::NetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::SocketAddr;
use rtnetlink::{Handle, MulticastGroup};
use tokio::sync::watch;

use crate::l2::selection::{Link, Mac};

/// Shortest time between two dumps: a storm of events (many pods starting) costs at most 20 dumps a second.
const SHORTEST: Duration = Duration::from_millis(50);
/// Longest time between two dumps, a net under everything that could be missed.
const LONGEST: Duration = Duration::from_secs(60);

type Events = UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>;

/// Publishes the interfaces whenever they change. Never returns without an error.
///
/// # Errors
/// Netlink cannot be used, or its connection broke.
pub async fn observe(publish: watch::Sender<Option<Vec<Link>>>) -> anyhow::Result<()> {
    let (connection, handle, mut events) =
        rtnetlink::new_multicast_connection(&[MulticastGroup::Link, MulticastGroup::Ipv6Ifaddr])
            .context("cannot open a netlink socket")?;
    // Ends by itself when `handle` and `events` are dropped.
    tokio::spawn(connection);
    loop {
        let links = dump(&handle).await?;
        publish.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&links);
            *known = Some(links);
            changed
        });
        tokio::time::sleep(SHORTEST).await;
        wait(&mut events).await?;
    }
}

/// Waits for at least one event, or for the longest time; takes in all that wait.
async fn wait(events: &mut Events) -> anyhow::Result<()> {
    let Ok(first) = tokio::time::timeout(LONGEST, events.next()).await else { return Ok(()) };
    first.context("the netlink connection was closed")?;
    while events.try_recv().is_ok() {}
    Ok(())
}

async fn dump(handle: &Handle) -> anyhow::Result<Vec<Link>> {
    let addresses = handle.address().get().execute().try_collect().await.context("cannot list the node's addresses")?;
    let messages: Vec<LinkMessage> =
        handle.link().get().execute().try_collect().await.context("cannot list the node's interfaces")?;
    let with_ipv6 = with_link_local(addresses);
    let mut links: Vec<Link> = messages.iter().filter_map(|message| link(message, &with_ipv6)).collect();
    links.sort_by_key(|link| link.index);
    Ok(links)
}

/// The interfaces with an IPv6 link-local address. One that turned out to be somebody else's does not count; one that is
/// still being checked does, since no answer is sent from it.
fn with_link_local(messages: Vec<AddressMessage>) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    for message in messages {
        let mut usable = !message.header.flags.contains(AddressHeaderFlags::Dadfailed);
        let mut link_local = false;
        for attribute in message.attributes {
            if let AddressAttribute::Flags(flags) = attribute {
                usable &= !flags.contains(AddressFlags::Dadfailed);
            } else if let AddressAttribute::Address(IpAddr::V6(ip)) = attribute {
                link_local |= ip.is_unicast_link_local();
            }
        }
        if usable && link_local {
            found.insert(message.header.index);
        }
    }
    found
}

fn link(message: &LinkMessage, with_ipv6: &BTreeSet<u32>) -> Option<Link> {
    if message.header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: None,
        ethernet: message.header.link_layer_type == LinkLayerType::Ether,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        broadcast: flags.contains(LinkFlags::Broadcast),
        noarp: flags.contains(LinkFlags::Noarp),
        enslaved: false,
        ipv6: with_ipv6.contains(&message.header.index),
    };
    for attribute in &message.attributes {
        if let LinkAttribute::IfName(name) = attribute {
            link.name.clone_from(name);
        } else if let LinkAttribute::Address(bytes) = attribute {
            link.mac = bytes.as_slice().try_into().ok().map(Mac);
        } else if let LinkAttribute::Controller(index) = attribute {
            link.enslaved = *index != 0;
        }
    }
    (!link.name.is_empty()).then_some(link)
}
