//! Where copies belong: members and a table in, a diff out.
//!
//! **Never knows** who asked, how a diff spreads, who lives, or the time. The same members and the same table give the
//! same diff on every node, whatever order the list has.
//!
//! What it sees to, the first before the second:
//! 1. **Spread**: the replicas of a group stand in other zones than its primary, and where there are none left, in other racks.
//! 2. **Balance**: each node holds its weighted share of primaries, and of all copies, give or take 5 % or one slot. Where
//!    the spread leaves no choice (one small node alone in the second zone), the share of copies is what a fill from nothing
//!    gives: at most a thousandth or so above the least that it could be.
//! 3. **Calm**: only what breaks one of the two changes. A join or a leave moves about the new node's share, or the old one's.
//! 4. Where it costs none of these, the replicas of a group stand apart from each other, too.
//!
//! The method is a greedy fill, its ties broken by a hash of slot and node, as in rendezvous hashing (Thaler and
//! Ravishankar, "Using name-based mappings to increase hit rates", 1998): so that the partners of a node are many, and
//! share its load when it is gone. From a table that stands, single copies and single roles are moved until no node is out
//! of bounds.

mod layout;
mod load;
mod place;
mod topology;

pub use place::{Goal, Member, PlacementError, place};
