#include "bind_keys.hpp"

#include <cstring>
#include <string_view>

#include "hot/key_builder.hpp"

namespace py = pybind11;

namespace millpond::bindings {
namespace {

py::bytes fingerprint(py::handle value, bool typed, bool ordered) {
    Fingerprint print;
    PyObject* leaves = nullptr;
    if (!fingerprint_value(value.ptr(), {typed, ordered}, print, &leaves)) {
        throw py::error_already_set();
    }
    Py_XDECREF(leaves);
    char bytes[16];
    std::memcpy(bytes, &print.hi, 8);
    std::memcpy(bytes + 8, &print.lo, 8);
    return py::bytes(bytes, sizeof bytes);
}

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
    for (const auto& [name, value] : named) {
        if (!builder.add_named(name.ptr(), value.ptr())) throw py::error_already_set();
    }
    const Fingerprint print = builder.finish();
    char bytes[16];
    std::memcpy(bytes, &print.hi, 8);
    std::memcpy(bytes + 8, &print.lo, 8);
    return py::bytes(bytes, sizeof bytes);
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

}  // namespace

void bind_keys(py::module_& m) {
    m.def("fingerprint", &fingerprint, py::arg("value"), py::kw_only(), py::arg("typed") = true,
          py::arg("ordered") = false, "The 16 bytes that stand for a value within this process.");
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
}

}  // namespace millpond::bindings
