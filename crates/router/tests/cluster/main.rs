//! Clusters of real routers in one process, over the in-memory transport and with faults: what a call may rely on,
//! whatever its entry node believes.

mod support;

mod bodies;
mod breakers;
mod budget;
mod changes;
mod deadlines;
mod direct;
mod hedges;
mod learning;
mod load;
mod outcomes;
mod owners;
mod paths;
mod peers;
mod relays;
mod traces;
