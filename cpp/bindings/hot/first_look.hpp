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
    Absent,  // `first` is what the flow has to know: (fetched or None, seen or None, seconds, the
             // Loaded of a value past its life or None)
    Skipped,
    Error,  // an exception is set
};

struct FirstFound {
    Ref loaded;
    Ref first;
};

struct LookFor {
    bool store;    // whether memory is to keep what is found
    bool anew;     // what is past its life is about to be loaded anew
    bool waiting;  // whether any tier may be asked, or only one that answers at once
};

[[nodiscard]] bool is_first_look(PyObject* object) noexcept;

// Looks for `call`, (name, names of its tags' generations). REQUIRES: is_first_look(look).
[[nodiscard]] Looked look_first(PyObject* look, PyObject* call, LookFor how, FirstFound& found);

// Adds the type to the module. 0, or -1 with an exception set.
[[nodiscard]] int init_first_look(PyObject* module);

}  // namespace millpond::bindings
