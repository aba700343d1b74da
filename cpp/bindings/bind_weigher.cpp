#include "bind_weigher.hpp"

#include <pybind11/pybind11.h>

#include <cstdint>

#include "hot/weigher.hpp"

namespace py = pybind11;

namespace millpond::bindings {

void bind_weigher(py::module_& m) {
    m.attr("MAX_WEIGHED_PARTS") = kMaxWeighedParts;
    m.def(
        "weigh",
        [](py::handle value) {
            std::uint64_t bytes = 0;
            if (!weigh(value.ptr(), &bytes)) throw py::error_already_set();
            return bytes;
        },
        py::arg("value"), py::pos_only(),
        "The bytes that a value keeps alive, deep, as the default weigher counts them.");
    m.def(
        "is_cacheable", [](py::handle value) { return is_cacheable(value.ptr()); },
        py::arg("value"), py::pos_only(),
        "False for awaitables, iterators and open files, which serve only once.");
    m.def(
        "check_cacheable",
        [](py::handle value) {
            if (!check_cacheable(value.ptr())) throw py::error_already_set();
        },
        py::arg("value"), py::pos_only(),
        "Raises ValueRefusedError for awaitables, iterators and open files.");
}

}  // namespace millpond::bindings
