#include "hot/arguments.hpp"

#include <cmath>
#include <string>

#include "hot/cache_object.hpp"
#include "hot/interned.hpp"
#include "millpond/base/error.hpp"
#include "millpond/cache/cost.hpp"
#include "millpond/cache/ttl_profiles.hpp"
#include "translate_error.hpp"

namespace millpond::bindings {
namespace {

constexpr double kMostSeconds = 9e9;  // 285 years: what 63 bits of nanoseconds hold

std::string shown(PyObject* object) {
    const Ref text(PyObject_Repr(object));
    const char* const utf8 = text ? PyUnicode_AsUTF8(text.get()) : nullptr;
    std::string result = utf8 != nullptr ? utf8 : std::string("a ") + Py_TYPE(object)->tp_name;
    PyErr_Clear();
    constexpr std::size_t kMost = 80;
    if (result.size() > kMost) {
        result = std::string("a ") + Py_TYPE(object)->tp_name;
    }
    return result;
}

bool refuse_life(PyObject* object, const char* option,
                 PythonError kind = PythonError::Configuration) {
    raise_error(kind, std::string(option) + "=" + shown(object) +
                          ": a life is a positive number of seconds, a timedelta, text such as "
                          "\"10m\" or \"1h30m\", or None for no limit");
    return false;
}

bool life_of_seconds(double seconds, PyObject* object, const char* option, Nanos& life) {
    if (std::isinf(seconds) && seconds > 0) {
        life = kForEver;
        return true;
    }
    if (!(seconds > 0) || seconds > kMostSeconds) {
        return refuse_life(object, option);
    }
    life = Nanos{static_cast<Nanos::rep>(seconds * 1e9)};
    if (life <= Nanos::zero()) {
        life = Nanos{1};
    }
    return true;
}

bool life_of_text(PyObject* text, const char* option, Nanos& life) {
    Py_ssize_t length = 0;
    const char* const utf8 = PyUnicode_AsUTF8AndSize(text, &length);
    if (utf8 == nullptr) {
        PyErr_Clear();
        return refuse_life(text, option);
    }
    try {
        life = parse_ttl({utf8, static_cast<std::size_t>(length)});
    } catch (const Error& error) {
        raise_error(PythonError::Configuration, std::string(option) + ": " + error.what());
        return false;
    } catch (...) {
        raise_current_exception();
        return false;
    }
    return life > Nanos::zero() || refuse_life(text, option);
}

}  // namespace

bool read_options(const char* function, std::span<const char* const> names, PyObject* const* given,
                  PyObject* kwnames, std::span<PyObject*> values) {
    const Py_ssize_t count = kwnames == nullptr ? 0 : PyTuple_GET_SIZE(kwnames);
    for (Py_ssize_t i = 0; i < count; ++i) {
        PyObject* const name = PyTuple_GET_ITEM(kwnames, i);
        std::size_t at = 0;
        while (at < names.size() && PyUnicode_CompareWithASCIIString(name, names[at]) != 0) {
            ++at;
        }
        if (at == names.size()) {
            std::string allowed;
            for (const char* const one : names) {
                allowed += allowed.empty() ? one : std::string(", ") + one;
            }
            PyErr_Format(PyExc_TypeError, "%s() has no option %R; its options are: %s", function,
                         name, allowed.c_str());
            return false;
        }
        values[at] = given[i];
    }
    return true;
}

bool read_life(PyObject* object, const char* option, Nanos& life) {
    if (object == nullptr || object == Py_None) {
        life = kForEver;
        return true;
    }
    if (PyUnicode_Check(object)) {
        return life_of_text(object, option, life);
    }
    if (PyBool_Check(object)) {
        return refuse_life(object, option, PythonError::OptionType);
    }
    if (PyFloat_Check(object) || PyLong_Check(object)) {
        const double seconds = PyFloat_AsDouble(object);
        if (seconds == -1.0 && PyErr_Occurred() != nullptr) {
            PyErr_Clear();
            return refuse_life(object, option);
        }
        return life_of_seconds(seconds, object, option, life);
    }
    const Ref seconds = call_method<"total_seconds">(object);
    if (!seconds || !PyFloat_Check(seconds.get())) {
        PyErr_Clear();
        return refuse_life(object, option, PythonError::OptionType);
    }
    return life_of_seconds(PyFloat_AS_DOUBLE(seconds.get()), object, option, life);
}

bool read_cost(PyObject* object, double& cost) {
    const double dollars = PyFloat_AsDouble(object);
    if (dollars == -1.0 && PyErr_Occurred() != nullptr) {
        PyErr_Clear();
        raise_error(PythonError::OptionType,
                    "cost=" + shown(object) + ": a cost is a number of dollars");
        return false;
    }
    if (!(dollars >= 0 && dollars <= cache::kMostDollars)) {
        raise_error(PythonError::Configuration,
                    "cost=" + shown(object) + ": a cost is a number of dollars from 0 to 1e15");
        return false;
    }
    cost = dollars;
    return true;
}

}  // namespace millpond::bindings
