#include "bind_flights.hpp"

#include <pybind11/pybind11.h>

#include "hot/ready.hpp"

namespace millpond::bindings {

namespace {
PyObject* testing_ready(PyObject*, PyObject* value) { return make_ready(Py_NewRef(value)); }
PyMethodDef testing_methods[] = {
    {"ready", testing_ready, METH_O, "A finished awaitable of the value."},
    {nullptr, nullptr, 0, nullptr},
};
}  // namespace

void bind_flights(pybind11::module_& m) {
    if (init_ready() < 0) {
        throw pybind11::error_already_set();
    }
    pybind11::module_ testing = m.def_submodule("_testing");
    if (PyModule_AddFunctions(testing.ptr(), testing_methods) < 0) {
        throw pybind11::error_already_set();
    }
}

}  // namespace millpond::bindings
