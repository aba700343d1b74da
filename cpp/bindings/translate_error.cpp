#include "translate_error.hpp"

#include <pybind11/pybind11.h>

#include <exception>
#include <new>
#include <string>

#include "millpond/base/error.hpp"

namespace py = pybind11;

namespace millpond::bindings {
namespace {

const char* class_name(PythonError kind) noexcept {
    switch (kind) {
        case PythonError::Configuration: return "ConfigurationError";
        case PythonError::Keying: return "KeyingError";
        case PythonError::Limit: return "LimitError";
        case PythonError::OptionType: return "OptionTypeError";
        case PythonError::Snapshot: return "SnapshotError";
        case PythonError::Unsupported: return "UnsupportedError";
        case PythonError::ValueRefused: return "ValueRefusedError";
        case PythonError::WaitTimeout: return "WaitTimeoutError";
        case PythonError::Weight: return "WeightError";
    }
    return "MillpondError";
}

// New reference, or null with an exception set.
PyObject* class_of(PythonError kind) noexcept {
    PyObject* module = PyImport_ImportModule("millpond.errors");
    if (module == nullptr) return nullptr;
    PyObject* type = PyObject_GetAttrString(module, class_name(kind));
    Py_DECREF(module);
    return type;
}

PythonError kind_of(ErrorCode code) noexcept {
    switch (code) {
        case ErrorCode::InvalidArgument: return PythonError::Configuration;
        case ErrorCode::LimitExceeded: return PythonError::Limit;
        case ErrorCode::Corrupt: return PythonError::Snapshot;
        case ErrorCode::Unsupported: return PythonError::Unsupported;
    }
    return PythonError::Unsupported;
}

void raise_as(PyObject* type, std::string_view message) noexcept {
    PyObject* text = PyUnicode_DecodeUTF8(message.data(), static_cast<Py_ssize_t>(message.size()),
                                          "backslashreplace");
    if (text != nullptr) {
        PyErr_SetObject(type, text);
        Py_DECREF(text);
    }
}

// Throws what the engine would, so that the tests can see every translation through both doors.
void fail_as(const std::string& kind, const std::string& message) {
    if (kind == "invalid_argument") throw Error(ErrorCode::InvalidArgument, message);
    if (kind == "limit_exceeded") throw Error(ErrorCode::LimitExceeded, message);
    if (kind == "corrupt") throw Error(ErrorCode::Corrupt, message);
    if (kind == "unsupported") throw Error(ErrorCode::Unsupported, message);
    if (kind == "bad_alloc") throw std::bad_alloc();
    if (kind == "python") {
        PyErr_SetString(PyExc_LookupError, message.c_str());
        throw py::error_already_set();
    }
    if (kind == "pybind11") throw py::index_error(message);
    if (kind == "not_an_exception") throw 7;  // NOLINT(bugprone-std-exception-baseclass)
    throw std::runtime_error(message);
}

void fail_in_raw_code(const std::string& kind, const std::string& message) {
    try {
        fail_as(kind, message);
    } catch (...) {
        raise_current_exception();
    }
    throw py::error_already_set();
}

}  // namespace

void raise_error(PythonError kind, std::string_view message) noexcept {
    PyObject* type = class_of(kind);
    if (type == nullptr) return;
    raise_as(type, message);
    Py_DECREF(type);
}

bool is_error(PyObject* exception, PythonError kind) noexcept {
    PyObject* type = class_of(kind);
    if (type == nullptr) {
        PyErr_Clear();
        return false;
    }
    const bool is = PyErr_GivenExceptionMatches(exception, type) == 1;
    Py_DECREF(type);
    return is;
}

void raise_current_exception() noexcept {
    try {
        throw;
    } catch (const Error& error) {
        raise_error(kind_of(error.code()), error.what());
    } catch (py::error_already_set& error) {
        error.restore();
    } catch (const py::builtin_exception& error) {
        error.set_error();
    } catch (const std::bad_alloc&) {
        PyErr_NoMemory();
    } catch (const std::exception& error) {
        raise_as(PyExc_RuntimeError, error.what());
    } catch (...) {
        raise_as(PyExc_RuntimeError, "the millpond engine threw what is not a C++ exception");
    }
}

void bind_errors(py::module_& m) {
    // pybind11 wants this signature. NOLINTNEXTLINE(performance-unnecessary-value-param)
    py::register_local_exception_translator([](std::exception_ptr pending) {
        // Only ours: what pybind11 knows (bad_alloc, std::exception) stays with pybind11.
        try {
            if (pending) std::rethrow_exception(pending);
        } catch (const Error& error) {
            raise_error(kind_of(error.code()), error.what());
        }
    });
    py::module_ testing = m.def_submodule("_testing");
    testing.def("fail", &fail_as, py::arg("kind"), py::arg("message"),
                "Fails as the engine would, through pybind11.");
    testing.def("fail_raw", &fail_in_raw_code, py::arg("kind"), py::arg("message"),
                "Fails as the engine would, through raw C-API code.");
}

}  // namespace millpond::bindings
