#include "hot/call_plan.hpp"

#include <algorithm>

namespace millpond::bindings {
namespace {

PyObject* g_missing = nullptr;

// Names are nearly always hashed already; those of other hashes are other names.
bool same_name(PyObject* a, PyObject* b) {
    const Py_hash_t one = reinterpret_cast<PyASCIIObject*>(a)->hash;
    const Py_hash_t other = reinterpret_cast<PyASCIIObject*>(b)->hash;
    return (one == other || one == -1 || other == -1) && PyUnicode_Compare(a, b) == 0;
}

// Names in calls and in signatures are interned, so nearly all are found by address.
Py_ssize_t place_of(const CallPlan& plan, PyObject* name) {
    const Py_ssize_t size = plan.size();
    for (Py_ssize_t i = 0; i < size; ++i) {
        if (PyTuple_GET_ITEM(plan.names.get(), i) == name) {
            return i;
        }
    }
    for (Py_ssize_t i = 0; i < size; ++i) {
        if (same_name(PyTuple_GET_ITEM(plan.names.get(), i), name)) {
            return i;
        }
    }
    return size;
}

bool read_tag(PyObject* parts, CallPlan& plan) {
    std::vector<TagPart> tag;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(parts); ++i) {
        PyObject* const part = PyTuple_GET_ITEM(parts, i);
        if (PyUnicode_CheckExact(part)) {
            plan.texts.push_back(Ref::share(part));
            tag.push_back({part, 0});
            continue;
        }
        const Py_ssize_t place = PyLong_AsSsize_t(part);
        if (place < 0 || place >= plan.size()) {
            PyErr_SetString(PyExc_ValueError, "a tag names an argument that is not there");
            return false;
        }
        tag.push_back({nullptr, static_cast<std::uint32_t>(place)});
    }
    plan.tags.push_back(std::move(tag));
    return true;
}

}  // namespace

PyObject* missing_default() noexcept { return g_missing; }

int init_call_plan(PyObject* module) {
    g_missing = PyObject_CallNoArgs(reinterpret_cast<PyObject*>(&PyBaseObject_Type));
    return g_missing == nullptr ? -1 : PyModule_AddObjectRef(module, "MISSING", g_missing);
}

BoundCall::Outcome BoundCall::bind(const CallPlan& plan, const Call& call) {
    const Py_ssize_t given = call.positional();
    if (plan.plain && given == plan.size() && call.kwnames == nullptr) [[likely]] {
        values_ = {call.args, static_cast<std::size_t>(given)};
        return Outcome::Bound;
    }
    const Py_ssize_t taken = std::min(given, plan.positional);
    if (given > taken && !plan.var_positional) {
        return Outcome::Unbindable;
    }
    const auto size = static_cast<std::size_t>(plan.size());
    PyObject** values = inline_;
    if (size > kInline) {
        spilled_.resize(size);
        values = spilled_.data();
    }
    values_ = {values, size};
    std::fill_n(values, size, nullptr);
    std::copy_n(call.args, taken, values);
    rest_ = {call.args + taken, static_cast<std::size_t>(given - taken)};
    NamedArgument* named = inline_named_;
    std::size_t count = 0;
    if (plan.var_named && static_cast<std::size_t>(call.named()) > kInline) {
        spilled_named_.resize(static_cast<std::size_t>(call.named()));
        named = spilled_named_.data();
    }
    for (Py_ssize_t i = 0; i < call.named(); ++i) {
        PyObject* const name = PyTuple_GET_ITEM(call.kwnames, i);
        PyObject* const value = call.args[given + i];
        const Py_ssize_t place = place_of(plan, name);
        if (place < plan.size() && place >= plan.positional_only) {
            PyObject*& target = values[static_cast<std::size_t>(place)];
            if (target != nullptr) {
                return Outcome::Unbindable;
            }
            target = value;
        } else if (plan.var_named) {
            named[count++] = {name, value};
        } else {
            return Outcome::Unbindable;
        }
    }
    named_ = {named, count};
    for (std::size_t i = 0; i < size; ++i) {
        if (values[i] == nullptr) {
            values[i] = PyTuple_GET_ITEM(plan.defaults.get(), static_cast<Py_ssize_t>(i));
            if (values[i] == missing_default()) {
                return Outcome::Unbindable;
            }
        }
    }
    return Outcome::Bound;
}

std::unique_ptr<CallPlan> make_plan(PyObject* description) {
    auto plan = std::make_unique<CallPlan>();
    PyObject *names, *defaults, *ignored, *tags;
    int var_positional = 0;
    int var_named = 0;
    if (!PyArg_ParseTuple(description, "O!O!nnppO!O!", &PyTuple_Type, &names, &PyTuple_Type,
                          &defaults, &plan->positional_only, &plan->positional, &var_positional,
                          &var_named, &PySet_Type, &ignored, &PyTuple_Type, &tags)) {
        return nullptr;
    }
    plan->names = Ref::share(names);
    plan->defaults = Ref::share(defaults);
    plan->var_positional = var_positional != 0;
    plan->var_named = var_named != 0;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); ++i) {
        const int found = PySet_Contains(ignored, PyTuple_GET_ITEM(names, i));
        if (found < 0) {
            return nullptr;
        }
        plan->ignored.push_back(found == 1);
    }
    plan->plain = plan->positional == plan->size() && !plan->var_positional && !plan->var_named &&
                  PySet_GET_SIZE(ignored) == 0;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tags); ++i) {
        if (!read_tag(PyTuple_GET_ITEM(tags, i), *plan)) {
            return nullptr;
        }
    }
    return plan;
}

}  // namespace millpond::bindings
