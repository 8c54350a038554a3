//! Default values of fields, shared by serde (reading) and the schemas (what the apiserver fills in).

/// Default of `autoAssign`.
pub(crate) fn yes() -> bool {
    true
}

/// For `skip_serializing_if` on switches that are off when absent.
pub(crate) fn is_false(value: &bool) -> bool {
    !value
}

/// Default of `aggregationLength`: every IPv4 address by itself.
pub(crate) fn aggregation_length() -> i32 {
    32
}

/// Default of `aggregationLengthV6`: every IPv6 address by itself.
pub(crate) fn aggregation_length_v6() -> i32 {
    128
}

/// Default of `peerPort`: BGP's own port (RFC 4271 section 8).
pub(crate) fn peer_port() -> u16 {
    179
}
