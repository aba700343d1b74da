// millpond.Batch: a batch of keys that an event loop loads. One task makes the load, under a flight
// inside those of its keys (flight_group.hpp).
//
//     batch = function._begin_many(keys, ttl, tags, cost)
//     await batch.run(bring)                        # where there are batch.missing
//         async def bring(): batch.end(await loader(batch.missing))
//     for key, flight in batch.waiting: await function._await(flight, key, loader, *terms, True)
#include <memory>
#include <new>

#include "hot/async_call.hpp"
#include "hot/function_methods.hpp"
#include "hot/key_batch.hpp"
#include "translate_error.hpp"

namespace millpond::bindings {
namespace {

struct BatchObject {
    PyObject_HEAD PyObject* function;
    PyObject* keys;
    KeyBatch* batch;  // owned; null once the collector has been here
};

PyTypeObject* g_type = nullptr;

BatchObject* as_batch(PyObject* self) { return reinterpret_cast<BatchObject*>(self); }

// Null with an exception set.
KeyBatch* batch_of(PyObject* self) {
    KeyBatch* const batch = as_batch(self)->batch;
    if (batch == nullptr) {
        PyErr_SetString(PyExc_ReferenceError, "the batch was collected");
    }
    return batch;
}

struct Part {
    PyObject* (KeyBatch::*get)() const noexcept;
};
Part g_found{&KeyBatch::found};
Part g_waiting{&KeyBatch::waiting};
Part g_missing{&KeyBatch::missing};
Part g_names{&KeyBatch::names};

// The start hook of the call that waits for the load; `args` is (batch, bring).
Start start_batch(PyObject*, PyObject* args, PyObject*, StartMode mode, FlightObject*,
                  PyObject** out) {
    PyObject* const self = PyTuple_GET_ITEM(args, 0);
    Ref coroutine(PyObject_CallNoArgs(PyTuple_GET_ITEM(args, 1)));
    if (!coroutine) {
        return Start::Error;
    }
    if (mode != StartMode::First && mode != StartMode::Restart) {
        *out = coroutine.release();
        return Start::Alone;
    }
    KeyBatch* const batch = batch_of(self);
    *out = batch == nullptr ? nullptr : as_object(batch->flights().run_task(self, coroutine.get()));
    return *out == nullptr ? Start::Error : Start::Wait;
}

PyObject* batch_run(PyObject* self, PyObject* bring) {
    const Ref args(PyTuple_Pack(2, self, bring));
    return args ? make_async_call(as_batch(self)->function, start_batch, args.get(), nullptr)
                : nullptr;
}

PyObject* batch_end(PyObject* self, PyObject* loaded) {
    KeyBatch* const batch = batch_of(self);
    if (batch == nullptr || !batch->end(loaded)) {
        return nullptr;
    }
    Py_RETURN_NONE;
}

// What `part`, a method of KeyBatch, gives.
PyObject* batch_part(PyObject* self, void* part) {
    const KeyBatch* const batch = batch_of(self);
    return batch == nullptr ? nullptr : Py_NewRef((batch->*static_cast<Part*>(part)->get)());
}

int batch_traverse(PyObject* self, visitproc visit, void* arg) {
    const BatchObject* const object = as_batch(self);
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(object->function);
    Py_VISIT(object->keys);
    return object->batch == nullptr ? 0 : object->batch->traverse(visit, arg);
}

int batch_clear(PyObject* self) {
    BatchObject* const object = as_batch(self);
    const std::unique_ptr<KeyBatch> batch(std::exchange(object->batch, nullptr));
    return 0;
}

void batch_dealloc(PyObject* self) {
    PyObject_GC_UnTrack(self);
    batch_clear(self);
    Py_CLEAR(as_batch(self)->function);
    Py_CLEAR(as_batch(self)->keys);
    release_object(as_batch(self));
}

PyMethodDef g_methods[] = {
    method("run", batch_run, METH_O, "Await bring() in a task of its own."),
    method("end", batch_end, METH_O, "Take the mapping of what was loaded."),
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef g_getset[] = {
    {"found", batch_part, nullptr, nullptr, &g_found},
    {"waiting", batch_part, nullptr, nullptr, &g_waiting},
    {"missing", batch_part, nullptr, nullptr, &g_missing},
    {"names", batch_part, nullptr, nullptr, &g_names},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

// The start hook of a call that waits for another's flight, the first of `args`.
Start start_waiting(PyObject* owner, PyObject* args, PyObject* kwargs, StartMode mode,
                    FlightObject* promoted, PyObject** out) {
    auto* const flight = reinterpret_cast<FlightObject*>(PyTuple_GET_ITEM(args, 0));
    if (mode == StartMode::First && !flight_given_up(flight)) {
        *out = Py_NewRef(as_object(flight));
        return Start::Wait;
    }
    return start_shifted_call(owner, args, kwargs, mode, promoted, out);
}

}  // namespace

PyObject* function_begin_many(PyObject* object, PyObject* const* args, Py_ssize_t count) {
    if (count != 4 || PyTuple_Check(args[0]) == 0 || !as_function(object)->mapping) {
        PyErr_SetString(PyExc_TypeError, "_begin_many() takes keys, ttl, tags and cost");
        return nullptr;
    }
    BatchObject* const made = PyObject_GC_New(BatchObject, g_type);
    if (made == nullptr) {
        return nullptr;
    }
    Ref owned(as_object(made));
    made->function = Py_NewRef(object);
    made->keys = Py_NewRef(args[0]);
    made->batch = nullptr;
    try {
        made->batch = new KeyBatch(as_function(object));
        const bool begun = made->batch->begin({args[0], Py_None, args[1], args[2], args[3]});
        made->batch->flights().leave();
        if (!begun) {
            return nullptr;
        }
    } catch (...) {
        raise_current_exception();
        return nullptr;
    }
    PyObject_GC_Track(as_object(made));
    return owned.release();
}

PyObject* function_await(PyObject* object, PyObject* const* args, Py_ssize_t count) {
    if (count != 7 || !is_flight(args[0]) || !as_function(object)->mapping) {
        PyErr_SetString(PyExc_TypeError, "_await() takes a flight and a call's arguments");
        return nullptr;
    }
    const Ref all(PyTuple_New(count));
    for (Py_ssize_t i = 0; all && i < count; ++i) {
        PyTuple_SET_ITEM(all.get(), i, Py_NewRef(args[i]));
    }
    return all ? make_async_call(object, start_waiting, all.get(), nullptr) : nullptr;
}

int init_batches() {
    PyType_Slot slots[] = {
        slot(Py_tp_dealloc, batch_dealloc), slot(Py_tp_traverse, batch_traverse),
        slot(Py_tp_clear, batch_clear),     {Py_tp_methods, g_methods},
        {Py_tp_getset, g_getset},           {0, nullptr},
    };
    PyType_Spec spec = {"millpond.Batch", sizeof(BatchObject), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
                            Py_TPFLAGS_DISALLOW_INSTANTIATION,
                        slots};
    g_type = make_heap_type(nullptr, spec);
    return g_type == nullptr ? -1 : 0;
}

}  // namespace millpond::bindings
