// Registers what the tiers need of the engine: TierMonitor.
#pragma once

namespace pybind11 {
class module_;
}

namespace millpond::bindings {

void bind_tiers(pybind11::module_& m);

}  // namespace millpond::bindings
