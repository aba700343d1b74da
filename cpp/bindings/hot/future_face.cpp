#include "hot/future_face.hpp"

#include <utility>

#include "hot/coroutine.hpp"
#include "hot/flight_state.hpp"
#include "hot/heap_type.hpp"
#include "hot/loops.hpp"

namespace millpond::bindings {
namespace {

PyObject* blocking_name = nullptr;

AsyncCallObject* as_call(PyObject* self) { return reinterpret_cast<AsyncCallObject*>(self); }

// The one optional argument `name` of a method; borrowed, null when absent. False with TypeError
// set when there is any other.
bool parse_optional(const char* name, Py_ssize_t positional, PyObject* const* args,
                    Py_ssize_t count, PyObject* names, PyObject** found) {
    const Py_ssize_t named = names != nullptr ? PyTuple_GET_SIZE(names) : 0;
    *found = count > positional ? args[positional] : nullptr;
    if (count > positional + 1 || named > 1 || (named == 1 && *found != nullptr)) {
        PyErr_SetString(PyExc_TypeError, "too many arguments");
        return false;
    }
    if (named == 1) {
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), name) != 0) {
            PyErr_Format(PyExc_TypeError, "unexpected keyword argument %R",
                         PyTuple_GET_ITEM(names, 0));
            return false;
        }
        *found = args[count];
    }
    return true;
}

PyObject* raise_invalid_state(const char* message) {
    if (PyObject* kind = invalid_state_error()) {
        PyErr_SetString(kind, message);
    }
    return nullptr;
}

bool is_done(const AsyncCallObject* call) {
    switch (call->state) {
        case CallState::Woken:
        case CallState::Failed:
        case CallState::Promoted:
        case CallState::Orphaned:
        case CallState::Done: return true;
        default: return false;
    }
}

bool is_cancelled(const AsyncCallObject* call) {
    return call->state == CallState::Failed &&
           PyErr_GivenExceptionMatches(call->extra, cancelled_error()) != 0;
}

// The exception that the wait ended with, borrowed; null when it ended otherwise.
PyObject* ended_with(const AsyncCallObject* call) {
    if (call->state == CallState::Failed) {
        return call->extra;
    }
    const bool failed =
        call->state == CallState::Woken && call->flight->state == FlightState::Failed;
    return failed ? call->flight->outcome : nullptr;
}

bool keep_callback(AsyncCallObject* call, PyObject* callback, PyObject* context) {
    if (call->callback == nullptr) {
        call->callback = Py_NewRef(callback);
        call->context = Py_NewRef(context);
        return true;
    }
    if (call->context != nullptr) {
        PyObject* list = Py_BuildValue("[(OO)]", call->callback, call->context);
        if (list == nullptr) {
            return false;
        }
        Py_XSETREF(call->callback, list);
        Py_CLEAR(call->context);
    }
    Ref pair(PyTuple_Pack(2, callback, context));
    return pair && PyList_Append(call->callback, pair.get()) == 0;
}

PyObject* name_of(PyObject* self, void*) { return call_name(self); }

PyObject* none_of(PyObject*, void*) { Py_RETURN_NONE; }

PyObject* running_of(PyObject* self, void*) {
    const CallState state = as_call(self)->state;
    return PyBool_FromLong(state == CallState::Starting || state == CallState::Driving);
}

PyObject* suspended_of(PyObject* self, void*) {
    const CallState state = as_call(self)->state;
    return PyBool_FromLong(state != CallState::Created && state != CallState::Done &&
                           state != CallState::Starting && state != CallState::Driving);
}

PyObject* awaited_of(PyObject* self, void*) {
    const AsyncCallObject* call = as_call(self);
    const bool drives = call->state == CallState::Alone || call->state == CallState::Driving;
    return Py_NewRef(drives ? call->extra : Py_None);
}

PyObject* loop_of(PyObject* self, void*) { return call_get_loop(self, nullptr); }

}  // namespace

PyObject* call_getattro(PyObject* self, PyObject* name) {
    if (name == blocking_name) {
        return PyBool_FromLong(as_call(self)->blocking);
    }
    return PyObject_GenericGetAttr(self, name);
}

int call_setattro(PyObject* self, PyObject* name, PyObject* value) {
    if (name == blocking_name && value != nullptr) {
        const int yes = PyObject_IsTrue(value);
        if (yes >= 0) {
            as_call(self)->blocking = yes != 0;
        }
        return yes < 0 ? -1 : 0;
    }
    return PyObject_GenericSetAttr(self, name, value);
}

PyObject* call_get_loop(PyObject* self, PyObject*) {
    PyObject* loop = as_call(self)->loop;
    return Py_NewRef(loop != nullptr ? loop : Py_None);
}

PyObject* call_add_done_callback(PyObject* self, PyObject* const* args, Py_ssize_t count,
                                 PyObject* names) {
    AsyncCallObject* call = as_call(self);
    PyObject* given = nullptr;
    if (count != 1) {
        PyErr_SetString(PyExc_TypeError, "add_done_callback() takes one callback");
        return nullptr;
    }
    if (!parse_optional("context", 1, args, count, names, &given)) {
        return nullptr;
    }
    Ref context(given != nullptr && given != Py_None ? Py_NewRef(given) : PyContext_CopyCurrent());
    if (!context) {
        return nullptr;
    }
    if (call->loop == nullptr) {
        return raise_invalid_state("nobody waits on this call");
    }
    if (!is_done(call)) {
        if (!keep_callback(call, args[0], context.get())) {
            return nullptr;
        }
        Py_RETURN_NONE;
    }
    Ref loop = Ref::share(call->loop);
    (void)call_soon(loop.get(), args[0], self, context.get());
    Py_RETURN_NONE;
}

PyObject* call_remove_done_callback(PyObject* self, PyObject* callback) {
    AsyncCallObject* call = as_call(self);
    Ref kept(std::exchange(call->callback, nullptr));
    Ref context(std::exchange(call->context, nullptr));
    if (!kept) {
        return PyLong_FromLong(0);
    }
    Ref pairs(context ? Py_BuildValue("[(OO)]", kept.get(), context.get()) : Py_NewRef(kept.get()));
    if (!pairs) {
        return nullptr;
    }
    long removed = 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(pairs.get()); ++i) {
        Ref pair = Ref::share(PyList_GET_ITEM(pairs.get(), i));
        // A list has no null items. NOLINTNEXTLINE(clang-analyzer-core.NullDereference)
        PyObject* candidate = PyTuple_GET_ITEM(pair.get(), 0);
        const int same = PyObject_RichCompareBool(candidate, callback, Py_EQ);
        if (same < 0 ||
            (same == 0 && !keep_callback(call, candidate, PyTuple_GET_ITEM(pair.get(), 1)))) {
            return nullptr;
        }
        removed += same;
    }
    return PyLong_FromLong(removed);
}

PyObject* call_cancel(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
    AsyncCallObject* call = as_call(self);
    PyObject* message = nullptr;
    if (!parse_optional("msg", 0, args, count, names, &message)) {
        return nullptr;
    }
    PyObject* kind = cancelled_error();
    if (kind == nullptr) {
        return nullptr;
    }
    if (call->state != CallState::Waiting) {
        Py_RETURN_FALSE;
    }
    Ref error(message != nullptr && message != Py_None ? PyObject_CallOneArg(kind, message)
                                                       : PyObject_CallNoArgs(kind));
    if (!error) {
        return nullptr;
    }
    call->state = CallState::Failed;
    Py_XSETREF(call->extra, error.release());
    leave_flight(call);
    schedule_here(call);
    Py_RETURN_TRUE;
}

PyObject* call_cancelled(PyObject* self, PyObject*) {
    return PyBool_FromLong(is_cancelled(as_call(self)));
}

PyObject* call_done(PyObject* self, PyObject*) { return PyBool_FromLong(is_done(as_call(self))); }

PyObject* call_result(PyObject* self, PyObject*) {
    AsyncCallObject* call = as_call(self);
    if (!is_done(call) || call->state == CallState::Done) {
        return raise_invalid_state("Result is not set.");
    }
    if (call->state == CallState::Failed) {
        raise_again(Py_NewRef(call->extra));
        return nullptr;
    }
    if (call->state == CallState::Woken && call->flight->state == FlightState::Failed) {
        raise_outcome(call->flight);
        return nullptr;
    }
    // A call that is to start again has no result yet: its task only has to go on.
    return Py_NewRef(call->state == CallState::Woken ? call->flight->outcome : Py_None);
}

PyObject* call_exception(PyObject* self, PyObject*) {
    AsyncCallObject* call = as_call(self);
    if (!is_done(call)) {
        return raise_invalid_state("Exception is not set.");
    }
    if (is_cancelled(call)) {
        raise_again(Py_NewRef(call->extra));
        return nullptr;
    }
    PyObject* exception = ended_with(call);
    return Py_NewRef(exception != nullptr ? exception : Py_None);
}

PyGetSetDef call_getset[] = {
    {"__name__", name_of, nullptr, nullptr, nullptr},
    {"__qualname__", name_of, nullptr, nullptr, nullptr},
    {"cr_frame", none_of, nullptr, nullptr, nullptr},
    {"cr_code", none_of, nullptr, nullptr, nullptr},
    {"cr_await", awaited_of, nullptr, nullptr, nullptr},
    {"cr_origin", none_of, nullptr, nullptr, nullptr},
    {"cr_running", running_of, nullptr, nullptr, nullptr},
    {"cr_suspended", suspended_of, nullptr, nullptr, nullptr},
    {"_loop", loop_of, nullptr, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyObject* call_name(PyObject* self) {
    PyObject* owner = as_call(self)->owner;
    if (owner == nullptr) {
        return PyUnicode_FromString("AsyncCall");
    }
    PyObject* name = PyObject_GetAttrString(owner, "__qualname__");
    if (name == nullptr) {
        PyErr_Clear();
        name = PyUnicode_FromString(Py_TYPE(owner)->tp_name);
    }
    return name;
}

int init_future_face() {
    blocking_name = PyUnicode_InternFromString("_asyncio_future_blocking");
    return blocking_name != nullptr ? 0 : -1;
}

}  // namespace millpond::bindings
