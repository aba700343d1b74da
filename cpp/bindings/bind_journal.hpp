// Registers Journal: what a tier that is out has to be told before it is read again.
#pragma once

namespace pybind11 {
class module_;
}

namespace millpond::bindings {

void bind_journal(pybind11::module_& m);

}  // namespace millpond::bindings
