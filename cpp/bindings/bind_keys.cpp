#include "bind_keys.hpp"

#include <cstring>
#include <string_view>
#include <utility>

#include "hot/dict_entries.hpp"
#include "hot/key_builder.hpp"

namespace py = pybind11;

namespace millpond::bindings {
namespace {

PyObject* as_bytes(const Fingerprint& print) {
    char bytes[16];
    std::memcpy(bytes, &print.hi, 8);
    std::memcpy(bytes + 8, &print.lo, 8);
    return PyBytes_FromStringAndSize(bytes, sizeof bytes);
}

// One option given by keyword; false with an exception set.
bool read_option(PyObject* name, PyObject* given, KeyOptions& options) {
    const int truth = PyObject_IsTrue(given);
    if (truth < 0) return false;
    if (PyUnicode_CompareWithASCIIString(name, "typed") == 0) {
        options.typed = truth != 0;
    } else if (PyUnicode_CompareWithASCIIString(name, "ordered") == 0) {
        options.ordered = truth != 0;
    } else {
        PyErr_Format(PyExc_TypeError, "fingerprint() has no parameter %R", name);
        return false;
    }
    return true;
}

// A function of the C-API's own kind: pybind11's call would cost a tenth of a large key.
PyObject* fingerprint(PyObject*, PyObject* const* arguments, Py_ssize_t count, PyObject* names) {
    if (count != 1) {
        PyErr_Format(PyExc_TypeError, "fingerprint() takes one value, %zd were given", count);
        return nullptr;
    }
    KeyOptions options;
    for (Py_ssize_t i = 0; names != nullptr && i < PyTuple_GET_SIZE(names); ++i) {
        if (!read_option(PyTuple_GET_ITEM(names, i), arguments[1 + i], options)) return nullptr;
    }
    KeyBuilder builder(options);
    if (!builder.add(arguments[0])) return nullptr;
    return as_bytes(builder.finish());
}

PyMethodDef raw_functions[] = {
    method("fingerprint", &fingerprint, METH_FASTCALL | METH_KEYWORDS,
           "fingerprint($module, value, /, *, typed=True, ordered=False)\n--\n\n"
           "The 16 bytes that stand for a value within this process."),
    {},
};

py::object opaque_leaves(py::handle value, bool typed, bool ordered) {
    Fingerprint print;
    PyObject* leaves = nullptr;
    if (!fingerprint_value(value.ptr(), {typed, ordered}, print, &leaves)) {
        throw py::error_already_set();
    }
    if (leaves == nullptr) return py::tuple();
    return py::reinterpret_steal<py::object>(leaves);
}

py::bytes shared_key(py::handle value, bool typed, bool ordered) {
    Sha256Digest key;
    if (!shared_key_value(value.ptr(), {typed, ordered}, key)) throw py::error_already_set();
    return py::bytes(reinterpret_cast<const char*>(key.data()), key.size());
}

py::bytes call_fingerprint(const py::tuple& positional, const py::dict& named, bool typed,
                           bool ordered) {
    KeyBuilder builder({typed, ordered});
    for (const py::handle value : positional) {
        if (!builder.add(value.ptr())) throw py::error_already_set();
    }
    std::vector<NamedArgument> pairs;
    for (const auto& [name, value] : named) pairs.push_back({name.ptr(), value.ptr()});
    if (!builder.add_named(pairs)) throw py::error_already_set();
    return py::reinterpret_steal<py::bytes>(as_bytes(builder.finish()));
}

py::bytes call_shared_key(const py::tuple& positional, const py::dict& named, bool typed,
                          bool ordered) {
    SharedKeyBuilder builder({typed, ordered});
    for (const py::handle value : positional) {
        if (!builder.add(value.ptr())) throw py::error_already_set();
    }
    for (const auto& [name, value] : named) {
        if (!builder.add_named(name.ptr(), value.ptr())) throw py::error_already_set();
    }
    Sha256Digest key;
    if (!builder.finish(key)) throw py::error_already_set();
    return py::bytes(reinterpret_cast<const char*>(key.data()), key.size());
}

void set_fingerprint_seed(const py::bytes& seed, bool portable) {
    const auto bytes = static_cast<std::string_view>(seed);
    if (bytes.size() != BlockHasher::kSeedBytes) {
        throw py::value_error("a seed of " + std::to_string(bytes.size()) +
                              " bytes was given; it takes " +
                              std::to_string(BlockHasher::kSeedBytes));
    }
    std::array<std::uint8_t, BlockHasher::kSeedBytes> words;
    std::memcpy(words.data(), bytes.data(), bytes.size());
    seed_process_hasher(words, portable ? HashLanes::Portable : best_hash_lanes());
}

bool set_dict_layout_known(bool known) { return std::exchange(dict_layout_is_known, known); }

}  // namespace

void bind_keys(py::module_& m) {
    if (PyModule_AddFunctions(m.ptr(), raw_functions) != 0) throw py::error_already_set();
    if (learn_dict_layout() != 0) throw py::error_already_set();
    m.def("opaque_leaves", &opaque_leaves, py::arg("value"), py::kw_only(), py::arg("typed") = true,
          py::arg("ordered") = false,
          "The parts of a value that its fingerprint knows by their hash only.");
    m.def("shared_key", &shared_key, py::arg("value"), py::kw_only(), py::arg("typed") = true,
          py::arg("ordered") = false, "The 32 bytes that stand for a value in every process.");
    m.def("call_fingerprint", &call_fingerprint, py::arg("positional"), py::arg("named"),
          py::kw_only(), py::arg("typed") = true, py::arg("ordered") = false,
          "The fingerprint of a call's arguments.");
    m.def("call_shared_key", &call_shared_key, py::arg("positional"), py::arg("named"),
          py::kw_only(), py::arg("typed") = true, py::arg("ordered") = false,
          "The shared key of a call's arguments.");
    m.def("set_fingerprint_seed", &set_fingerprint_seed, py::arg("seed"), py::kw_only(),
          py::arg("portable") = false,
          "Gives the process another 32-byte seed, for tests: earlier fingerprints lose their "
          "meaning.");
    m.def("set_dict_layout_known", &set_dict_layout_known, py::arg("known"),
          "Lets dicts be read where CPython keeps their pairs, or only by PyDict_Next, for tests; "
          "returns what held before.");
}

}  // namespace millpond::bindings
