//! gRPC's wire keeps the contract of all wires.

mod common;

use common::Grpc;

homing_transport::contract_suite!(Grpc::default());
