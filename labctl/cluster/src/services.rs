//! Services: the addresses and node ports that they get, and the pods behind them.

mod addresses;
mod backends;

pub(crate) use addresses::allocate;
pub(crate) use backends::{RunningPod, resolve};

use crate::object::{Kind, Object, ServiceSpec};

/// An object that is a Service.
#[derive(Clone, Copy)]
pub(crate) struct ServiceObject<'a> {
    pub(crate) object: &'a Object,
    pub(crate) spec: &'a ServiceSpec,
}

/// The services among objects, in their order.
pub(crate) fn services_of<'a>(objects: &[&'a Object]) -> Vec<ServiceObject<'a>> {
    let service = |object: &&'a Object| match &object.kind {
        Kind::Service(spec) => Some(ServiceObject { object, spec }),
        _ => None,
    };
    objects.iter().filter_map(service).collect()
}
