#include "hot/coroutine.hpp"

#include "hot/heap_type.hpp"
#include "hot/interned.hpp"

#include <utility>

namespace millpond::bindings {
namespace {

// The StopIteration that carries a value out of tp_iternext. It is used again when nobody but us
// holds it: SEND takes the value out and lets go of the exception at once.
PyStopIterationObject* carrier = nullptr;

bool carrier_is_reusable() noexcept {
    return Py_REFCNT(as_object(carrier)) == 1 && carrier->traceback == nullptr &&
           carrier->context == nullptr && carrier->cause == nullptr && carrier->dict == nullptr &&
           carrier->notes == nullptr;
}

// An idle carrier without a value, or null with MemoryError set.
PyStopIterationObject* take_carrier() {
    if (carrier == nullptr || !carrier_is_reusable()) {
        PyObject* made = PyObject_CallNoArgs(PyExc_StopIteration);
        PyObject* old =
            as_object(std::exchange(carrier, reinterpret_cast<PyStopIterationObject*>(made)));
        Py_XDECREF(old);
    }
    return carrier;
}

}  // namespace

PyObject* leave_with(PyObject* value) {
    if (value == Py_None) {
        Py_DECREF(value);
        return nullptr;
    }
    PyStopIterationObject* stop = take_carrier();
    if (stop == nullptr) {
        Py_DECREF(value);
        return nullptr;
    }
    PyObject* old = std::exchange(stop->value, value);
    raise_again(Py_NewRef(as_object(stop)));
    Py_XDECREF(old);
    return nullptr;
}

void drop_carried() {
    if (carrier != nullptr && carrier->value != nullptr && Py_REFCNT(as_object(carrier)) == 1) {
        if (carrier_is_reusable()) {
            Py_CLEAR(carrier->value);
        } else {
            Py_CLEAR(carrier);
        }
    }
}

PyObject* finish_send(PySendResult status, PyObject* result) {
    if (status == PYGEN_NEXT) {
        return result;
    }
    if (status == PYGEN_RETURN) {
        // Instantiated by hand: PyErr_SetObject would unpack a tuple into arguments.
        Ref value(result);
        Ref stop(PyObject_CallOneArg(PyExc_StopIteration, value.get()));
        if (stop) {
            PyErr_SetObject(PyExc_StopIteration, stop.get());
        }
    }
    return nullptr;
}

void set_thrown(PyObject* const* args, Py_ssize_t count) {
    if (count < 1 || count > 3) {
        PyErr_Format(PyExc_TypeError, "throw() takes 1 to 3 arguments, %zd given", count);
        return;
    }
    PyObject* type = args[0];
    PyObject* value = count > 1 && args[1] != Py_None ? args[1] : nullptr;
    PyObject* traceback = count > 2 && args[2] != Py_None ? args[2] : nullptr;
    if (traceback != nullptr && !PyTraceBack_Check(traceback)) {
        PyErr_SetString(PyExc_TypeError, "throw() third argument must be a traceback object");
        return;
    }
    Ref instance;
    if (PyExceptionInstance_Check(type)) {
        if (value != nullptr) {
            PyErr_SetString(PyExc_TypeError, "instance exception may not have a separate value");
            return;
        }
        instance = Ref::share(type);
    } else if (PyExceptionClass_Check(type)) {
        if (value != nullptr && PyObject_TypeCheck(value, reinterpret_cast<PyTypeObject*>(type))) {
            instance = Ref::share(value);
        } else if (value != nullptr && PyTuple_Check(value)) {
            instance = Ref(PyObject_CallObject(type, value));
        } else if (value != nullptr) {
            instance = Ref(PyObject_CallOneArg(type, value));
        } else {
            instance = Ref(PyObject_CallNoArgs(type));
        }
        if (!instance) {
            return;
        }
        if (!PyExceptionInstance_Check(instance.get())) {
            PyErr_Format(PyExc_TypeError, "calling %R should have returned an exception", type);
            return;
        }
    } else {
        PyErr_Format(PyExc_TypeError,
                     "exceptions must be classes or instances deriving from BaseException, not %s",
                     Py_TYPE(type)->tp_name);
        return;
    }
    if (traceback != nullptr) {
        PyException_SetTraceback(instance.get(), traceback);
    }
    raise_again(instance.release());
}

PyObject* throw_into(PyObject* iterator, PyObject* const* args, Py_ssize_t count) {
    Ref method = attribute_of<"throw">(iterator);
    if (method) {
        return PyObject_Vectorcall(method.get(), args, static_cast<std::size_t>(count), nullptr);
    }
    if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        set_thrown(args, count);
    }
    return nullptr;
}

void raise_with_traceback(PyObject* exception, PyObject* traceback) {
    PyException_SetTraceback(exception, traceback != nullptr ? traceback : Py_None);
    raise_again(Py_NewRef(exception));
}

PyObject* take_raised() {
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != nullptr) {
        PyException_SetTraceback(value, traceback);
    }
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
#endif
}

void raise_again(PyObject* exception) {
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(exception);
#else
    PyErr_Restore(Py_NewRef(as_object(Py_TYPE(exception))), exception,
                  PyException_GetTraceback(exception));
#endif
}

PyObject* awaitable_iterator(PyObject* awaitable) {
    if (PyCoro_CheckExact(awaitable)) {
        return Py_NewRef(awaitable);
    }
    const PyAsyncMethods* methods = Py_TYPE(awaitable)->tp_as_async;
    if (methods == nullptr || methods->am_await == nullptr) {
        PyErr_Format(PyExc_TypeError, "an awaitable was expected, %.100s was given",
                     Py_TYPE(awaitable)->tp_name);
        return nullptr;
    }
    PyObject* iterator = methods->am_await(awaitable);
    if (iterator != nullptr && !PyIter_Check(iterator)) {
        PyErr_Format(PyExc_TypeError, "__await__() returned non-iterator of type '%.100s'",
                     Py_TYPE(iterator)->tp_name);
        Py_CLEAR(iterator);
    }
    return iterator;
}

int register_coroutine(PyTypeObject* type) {
    // The module behind collections.abc, loaded by the interpreter itself before any user code.
    Ref module(PyImport_ImportModule("_collections_abc"));
    Ref abc = module ? attribute_of<"Coroutine">(module.get()) : Ref();
    Ref done(abc ? PyObject_CallMethod(abc.get(), "register", "O", type) : nullptr);
    return done ? 0 : -1;
}

}  // namespace millpond::bindings
