//! What `make bench` measures: builds ([`builds`]), boots of one server against the least that boots ([`prototype`]) and against
//! [`debian`] ([`boot`]), six machines at once ([`together`]), sources of metadata that are not there ([`absent`]) and the sizes of images ([`sizes`]), each as rows of one [`table`].
//! Processor time ([`cpu`]) decides, because other work on the machine stretches the time on the wall.

pub mod absent;
pub mod boot;
pub mod builds;
pub mod cpu;
pub mod debian;
pub mod prototype;
pub mod sizes;
pub mod table;
pub mod together;
