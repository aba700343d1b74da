#include "hot/loops.hpp"

#include "hot/coroutine.hpp"
#include "hot/heap_type.hpp"
#include "hot/interned.hpp"

namespace millpond::bindings {
namespace {

// What is kept of asyncio, for the life of the process.
struct Asyncio {
    PyObject* get_running_loop = nullptr;
    PyObject* task = nullptr;
    PyObject* cancelled_error = nullptr;
    PyObject* invalid_state_error = nullptr;
    PyObject* eager_names = nullptr;    // ("loop", "eager_start")
    PyObject* context_names = nullptr;  // ("context",)
};
Asyncio bound;

PyObject* attribute(PyObject* module, const char* name) {
    return module != nullptr ? PyObject_GetAttrString(module, name) : nullptr;
}

// Importing asyncio is cheap once somebody has. Python code runs, so `bound` is set at the end.
bool bind() {
    if (bound.get_running_loop != nullptr) {
        return true;
    }
    Ref asyncio(PyImport_ImportModule("asyncio"));
    Ref get_running_loop(attribute(asyncio.get(), "_get_running_loop"));
    Ref task(attribute(asyncio.get(), "Task"));
    Ref cancelled(attribute(asyncio.get(), "CancelledError"));
    Ref invalid_state(attribute(asyncio.get(), "InvalidStateError"));
    Ref eager_names(Py_BuildValue("(ss)", "loop", "eager_start"));
    Ref context_names(Py_BuildValue("(s)", "context"));
    if (!get_running_loop || !task || !cancelled || !invalid_state || !eager_names ||
        !context_names) {
        return false;
    }
    if (bound.get_running_loop == nullptr) {
        bound = {get_running_loop.release(), task.release(),        cancelled.release(),
                 invalid_state.release(),    eager_names.release(), context_names.release()};
    }
    return true;
}

// asyncio may be half imported while its own import runs our code; then it runs no loop yet.
bool bind_if_imported() {
    if (bound.get_running_loop != nullptr) {
        return true;
    }
    PyObject* modules = PyImport_GetModuleDict();
    if (modules == nullptr || PyDict_GetItemString(modules, "asyncio") == nullptr) {
        return false;
    }
    const bool ready = bind();
    if (!ready) {
        PyErr_Clear();
    }
    return ready;
}

template <Literal method_name>
bool ask(PyObject* loop, bool otherwise) {
    Ref raised(PyErr_Occurred() != nullptr ? take_raised() : nullptr);
    const Ref answer = call_method<method_name>(loop);
    const int yes = answer ? PyObject_IsTrue(answer.get()) : -1;
    PyErr_Clear();
    if (raised) {
        raise_again(raised.release());
    }
    return yes < 0 ? otherwise : yes == 1;
}

// What a loop's refusal means: a closed loop is skipped. Ctrl-C may also strike inside the loop's
// Python code; the call is made again, and the signal is sent again once it has been.
template <typename Call>
bool insist(PyObject* loop, Call&& call) {
    Ref handle(call());
    if (!handle && PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        PyErr_Clear();
        handle = Ref(call());
        PyErr_SetInterrupt();
    }
    if (handle) {
        return true;
    }
    if (loop_is_closed(loop)) {
        PyErr_Clear();
    } else {
        PyErr_WriteUnraisable(loop);
    }
    return false;
}

PyObject* eager_task(PyObject* loop, PyObject* coroutine) {
    PyObject* args[] = {coroutine, loop, Py_True};
    return PyObject_Vectorcall(bound.task, args, 1, bound.eager_names);
}

}  // namespace

PyObject* running_loop() {
    if (!bind_if_imported()) {
        return nullptr;
    }
    PyObject* loop = PyObject_CallNoArgs(bound.get_running_loop);
    if (loop == nullptr) {
        PyErr_Clear();
    } else if (loop == Py_None) {
        Py_CLEAR(loop);
    }
    return loop;
}

bool runs_in_this_thread(PyObject* loop) {
    if (loop == nullptr) {
        return false;
    }
    Ref running(running_loop());
    return running.get() == loop;
}

bool loop_is_closed(PyObject* loop) { return ask<"is_closed">(loop, true); }

bool loop_is_running(PyObject* loop) { return ask<"is_running">(loop, false); }

bool call_soon(PyObject* loop, PyObject* callback, PyObject* argument, PyObject* context) {
    return insist(loop, [&]() -> PyObject* {
        PyObject* const name = interned<"call_soon">();
        if (name == nullptr || !bind()) {
            return nullptr;
        }
        PyObject* args[] = {loop, callback, argument, context};
        return PyObject_VectorcallMethod(name, args, 3, bound.context_names);
    });
}

bool call_soon_threadsafe(PyObject* loop, PyObject* callback) {
    return insist(loop,
                  [&] { return call_method<"call_soon_threadsafe">(loop, callback).release(); });
}

bool call_later(PyObject* loop, double seconds, PyObject* callback) {
    return insist(loop, [&] {
        const Ref delay(PyFloat_FromDouble(seconds));
        return delay ? call_method<"call_later">(loop, delay.get(), callback).release() : nullptr;
    });
}

PyObject* create_task(PyObject* loop, PyObject* coroutine) {
    if (!bind()) {
        return nullptr;
    }
#if PY_VERSION_HEX >= 0x030C0000
    const Ref factory = call_method<"get_task_factory">(loop);
    if (factory.get() == Py_None) {
        return eager_task(loop, coroutine);
    }
    PyErr_Clear();
#else
    (void)eager_task;
#endif
    return call_method<"create_task">(loop, coroutine).release();
}

PyObject* cancelled_error() { return bind() ? bound.cancelled_error : nullptr; }

PyObject* cancelled_error_if_imported() {
    return bind_if_imported() ? bound.cancelled_error : nullptr;
}

PyObject* invalid_state_error() { return bind() ? bound.invalid_state_error : nullptr; }

}  // namespace millpond::bindings
