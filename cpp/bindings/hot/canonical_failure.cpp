#include "hot/canonical_failure.hpp"

#include <fmt/format.h>

#include <utility>

#include "hot/canonical_types.hpp"

namespace millpond::bindings {
namespace {

// A path longer than this keeps its two ends.
constexpr std::size_t kPathSteps = 12;
constexpr Py_ssize_t kKeyLetters = 40;

struct Wording {
    std::string_view root;
    std::string_view advice;
};
constexpr Wording kWordings[] = {
    {"", "pass key= to say what identifies the call, or ignore= to leave the argument out"},
    {"key", "a key is made of plain data and of hashable objects"},
    {"key()", "key= has to return plain data or a hashable object"},
};

}  // namespace

PyObject* key_error_type() {
    static PyObject* type = nullptr;
    if (type != nullptr) return type;
    PyObject* const module = PyImport_ImportModule("millpond.errors");
    PyObject* found = nullptr;
    if (module != nullptr) {
        found = PyObject_GetAttrString(module, "KeyingError");
        Py_DECREF(module);
    }
    if (found == nullptr || !PyExceptionClass_Check(found)) {
        // During interpreter shutdown nothing can be imported any more.
        Py_XDECREF(found);
        PyErr_Clear();
        return PyExc_TypeError;
    }
    type = found;
    return type;
}

std::string type_display_name(PyTypeObject* type) {
    const TypeName name = type_name(type);
    if (name.module.empty() || name.module == "builtins") return name.qualname;
    return name.module + "." + name.qualname;
}

bool Failure::set(std::string what) {
    what_ = std::move(what);
    return false;
}

void Failure::at_index(Py_ssize_t index) { steps_.push_back(fmt::format("[{}]", index)); }

void Failure::at_key(PyObject* key) {
    if (!PyUnicode_CheckExact(key) && !PyLong_CheckExact(key)) {
        steps_.push_back(fmt::format("[a key of type {}]", type_display_name(Py_TYPE(key))));
        return;
    }
    PyObject *kind = nullptr, *value = nullptr, *trace = nullptr;
    PyErr_Fetch(&kind, &value, &trace);
    PyObject* const repr = PyObject_Repr(key);
    PyObject* const ascii =
        repr == nullptr ? nullptr : PyUnicode_AsEncodedString(repr, "ascii", "backslashreplace");
    if (ascii == nullptr) {
        steps_.emplace_back("[...]");
    } else if (PyBytes_GET_SIZE(ascii) > kKeyLetters) {
        steps_.push_back(fmt::format(
            "[{}...]", std::string_view(PyBytes_AS_STRING(ascii), std::size_t{kKeyLetters})));
    } else {
        steps_.push_back(fmt::format("[{}]", PyBytes_AS_STRING(ascii)));
    }
    Py_XDECREF(ascii);
    Py_XDECREF(repr);
    PyErr_Restore(kind, value, trace);
}

void Failure::at_attribute(std::string_view name) { steps_.push_back(fmt::format(".{}", name)); }

void Failure::at_member() { steps_.emplace_back("{a member}"); }

void Failure::at_pair() { steps_.emplace_back("[...]"); }

std::string Failure::path(std::string_view root) const {
    std::string path(root);
    for (std::size_t i = 0; i < steps_.size(); ++i) {
        if (steps_.size() > kPathSteps && i == kPathSteps / 2) {
            path += "...";
            i = steps_.size() - kPathSteps / 2;
        }
        path += steps_[steps_.size() - 1 - i];
    }
    return path;
}

void Failure::raise(KeySource source, std::string_view root) {
    if (PyErr_Occurred() != nullptr) return;
    const Wording& wording = kWordings[static_cast<std::size_t>(source)];
    const std::string message = fmt::format(
        "cannot make a cache key of {}: {}; {}",
        path(source == KeySource::Argument ? root : wording.root), what_, wording.advice);
    PyErr_SetString(key_error_type(), message.c_str());
}

}  // namespace millpond::bindings
