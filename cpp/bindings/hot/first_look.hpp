// millpond._engine.FirstLook: the first step of a flow, the look-up of one key in the fastest tier,
// made by the engine. A hit there, which is what most calls are that come to the tiers, ends the load
// without a frame of the flow; what else comes of it goes to the flow, which goes on from there.
//
// It asks what the flow would ask: the flow itself is asked first while it has not begun to listen,
// or has something to tell the tier.
#pragma once

#include <Python.h>

#include "hot/heap_type.hpp"

namespace millpond::bindings {

enum class Looked {
    Value,   // `loaded` is what the load returns
    Absent,  // `first` is what the flow has to know: (fetched or None, seen or None, seconds)
    Skipped,
    Error,  // an exception is set
};

struct FirstFound {
    Ref loaded;
    Ref first;
};

[[nodiscard]] bool is_first_look(PyObject* object) noexcept;

// Looks for `call`, (name, names of its tags' generations). `store`: whether memory is to keep it.
// With `waiting` any tier may be asked, else only one that answers at once.
// REQUIRES: is_first_look(look).
[[nodiscard]] Looked look_first(PyObject* look, PyObject* call, bool store, bool waiting,
                                FirstFound& found);

// Adds the type to the module. 0, or -1 with an exception set.
[[nodiscard]] int init_first_look(PyObject* module);

}  // namespace millpond::bindings
