// Functions with tiers behind the memory: what a call is called there, and the load that asks them.
#include <algorithm>
#include <string>
#include <vector>

#include "hot/function_methods.hpp"
#include "hot/function_object.hpp"
#include "hot/key_builder.hpp"
#include "hot/loaded.hpp"
#include "millpond/base/sha256.hpp"
#include "translate_error.hpp"

namespace millpond::bindings {
namespace {

constexpr char kHex[] = "0123456789abcdef";

void append_hex(std::string& text, std::span<const std::uint8_t> bytes) {
    for (const std::uint8_t byte : bytes) {
        text.push_back(kHex[byte >> 4]);
        text.push_back(kHex[byte & 15]);
    }
}

void append_hex(std::string& text, std::uint64_t number) {
    for (int shift = 60; shift >= 0; shift -= 4) {
        text.push_back(kHex[(number >> shift) & 15]);
    }
}

Ref to_text(const std::string& text) {
    return Ref(PyUnicode_FromStringAndSize(text.data(), static_cast<Py_ssize_t>(text.size())));
}

// Adds what tells one call of the function from another. False with an exception set.
bool add_arguments(const FunctionObject* self, const Call& call, SharedKeyBuilder& builder) {
    BoundCall bound;
    if (bound.bind(plan_of(self), call) != BoundCall::Outcome::Bound) {
        PyErr_SetString(PyExc_TypeError, "the arguments do not fit the signature");
        return false;
    }
    const CallPlan& plan = plan_of(self);
    for (std::size_t i = self->per_instance ? 1 : 0; i < bound.values().size(); ++i) {
        PyObject* const name = PyTuple_GET_ITEM(plan.names.get(), static_cast<Py_ssize_t>(i));
        if (!plan.ignored[i] && !builder.add(bound.values()[i], name)) {
            return false;
        }
    }
    for (PyObject* const value : bound.rest()) {
        if (!builder.add(value)) {
            return false;
        }
    }
    for (const auto& [name, value] : bound.named()) {
        if (!builder.add_named(name, value)) {
            return false;
        }
    }
    return true;
}

// The names of the tags of a call, and their hashes. Null with an exception set.
Ref generations_of(FunctionObject* self, const Call& call, Tags& tags) {
    std::vector<Ref> texts;
    if (!tag_texts(self, call, texts)) {
        return Ref();
    }
    Ref names(PyTuple_New(static_cast<Py_ssize_t>(texts.size())));
    for (std::size_t i = 0; names && i < texts.size(); ++i) {
        tags.push_back(tag_hash(texts[i].get()));
        PyObject* const name = generation_name("t", texts[i].get());
        if (name == nullptr) {
            return Ref();
        }
        PyTuple_SET_ITEM(names.get(), static_cast<Py_ssize_t>(i), name);
    }
    return names;
}

}  // namespace

PyObject* generation_name(const char* kind, PyObject* text) {
    Py_ssize_t length = 0;
    const char* const bytes = PyUnicode_AsUTF8AndSize(text, &length);
    if (bytes == nullptr) {
        return nullptr;
    }
    Sha256 hash;
    hash.update(kind, 1);
    hash.update(bytes, static_cast<std::size_t>(length));
    std::string name;
    name.reserve(32);
    append_hex(name, tag_hash(text));
    const Sha256Digest digest = hash.finish();
    append_hex(name, std::span(digest).first(8));
    return to_text(name).release();
}

bool shared_digest(FunctionObject* self, const Call& call, Sha256Digest& digest) {
    SharedKeyBuilder builder(KeyOptions{.typed = self->typed, .ordered = self->ordered});
    if (self->mapping) {
        return builder.add(call.args[0]) && builder.finish(digest);
    }
    if (self->key_function != nullptr) {
        const Ref made = made_key(self, call);
        return made && builder.add(made.get()) && builder.finish(digest);
    }
    return add_arguments(self, call, builder) && builder.finish(digest);
}

Ref shared_name(FunctionObject* self, const Call& call) {
    Sha256Digest digest;
    if (!shared_digest(self, call, digest)) {
        return Ref();
    }
    Py_ssize_t length = 0;
    const char* const prefix = PyUnicode_AsUTF8AndSize(self->tiers->prefix.get(), &length);
    if (prefix == nullptr) {
        return Ref();
    }
    if (!PyUnicode_IS_ASCII(self->tiers->prefix.get())) {
        std::string name(prefix, static_cast<std::size_t>(length));
        append_hex(name, digest);
        return to_text(name);
    }
    Ref name(PyUnicode_New(length + 2 * static_cast<Py_ssize_t>(digest.size()), 127));
    if (name) {
        auto* out = static_cast<Py_UCS1*>(PyUnicode_DATA(name.get()));
        out = std::copy_n(prefix, length, out);
        for (const std::uint8_t byte : digest) {
            *out++ = static_cast<Py_UCS1>(kHex[byte >> 4]);
            *out++ = static_cast<Py_UCS1>(kHex[byte & 15]);
        }
    }
    return name;
}

Ref shared_call(FunctionObject* self, const Call& call, Tags& tags) {
    const Ref name = shared_name(self, call);
    const Ref generations = name ? generations_of(self, call, tags) : Ref();
    if (!generations) {
        return Ref();
    }
    tags.push_back(tag_hash(name.get()));
    return Ref(PyTuple_Pack(2, name.get(), generations.get()));
}

Looked look_first(FunctionObject* self, const Load* load, bool waiting, FirstFound& found) {
    // A refresh asks nobody. The loads of a batch in an event loop wait for that.
    const bool refresh = load->beside && !load->revalidates;
    if (!load->shared || refresh || (self->mapping && self->asynchronous) ||
        self->tiers == nullptr || !self->tiers->first) {
        return Looked::Skipped;
    }
    const Ref first = Ref::share(self->tiers->first.get());
    return look_first(first.get(), load->shared.get(),
                      {.store = load->store, .anew = load->revalidates, .waiting = waiting}, found);
}

PyObject* make_first_look_and_load(FunctionObject* self, const Call& call, const Load* load) {
    FirstFound found;
    switch (look_first(self, load, /*waiting=*/true, found)) {
        case Looked::Value: return found.loaded.release();
        case Looked::Error: return nullptr;
        case Looked::Absent:
        case Looked::Skipped: break;
    }
    return call_load(self, call, load, found.first.get());
}

PyObject* call_load(FunctionObject* self, const Call& call, const Load* load, PyObject* first) {
    if (!load->shared) {
        return call_through(self, call);
    }
    PyObject* const pair = load->shared.get();
    const Ref shared(first == nullptr ? Py_NewRef(pair)
                                      : PyTuple_Pack(3, PyTuple_GET_ITEM(pair, 0),
                                                     PyTuple_GET_ITEM(pair, 1), first));
    if (!shared) {
        return nullptr;
    }
    const std::size_t total = static_cast<std::size_t>(call.positional() + call.named());
    const bool refresh = load->beside && !load->revalidates;
    const Ref mode(PyLong_FromLong((refresh ? kRefresh : 0) | (load->store ? 0 : kNoStore) |
                                   (load->revalidates ? kAnew : 0) | (load->behind ? kBehind : 0)));
    std::vector<PyObject*> args{nullptr, shared.get(), mode.get()};
    args.insert(args.end(), call.args, call.args + total);
    // A user's code may clear the tiers while they are asked.
    const Ref flow = Ref::share(self->tiers ? self->tiers->flow.get() : nullptr);
    if (!flow) {
        return call_through(self, call);
    }
    return PyObject_Vectorcall(
        flow.get(), args.data() + 1,
        (static_cast<std::size_t>(call.positional()) + 2) | PY_VECTORCALL_ARGUMENTS_OFFSET,
        call.kwnames);
}

// _set_flow(flow, prefix, first): loads ask flow((name, generations), mode, *args, **kwargs) from now
// on, after the FirstLook, if one is given. None for the flow takes it away.
PyObject* function_set_flow(PyObject* object, PyObject* const* args, Py_ssize_t count) {
    FunctionObject* const self = as_function(object);
    if (count != 3 || !PyUnicode_Check(args[1]) ||
        (args[2] != Py_None && !is_first_look(args[2]))) {
        PyErr_SetString(PyExc_TypeError,
                        "_set_flow() takes a flow, the prefix of its names, and a FirstLook");
        return nullptr;
    }
    std::unique_ptr<Tiers> tiers;
    if (args[0] != Py_None) {
        tiers.reset(new (std::nothrow) Tiers{Ref::share(args[0]), Ref::share(args[1]),
                                             args[2] == Py_None ? Ref() : Ref::share(args[2])});
        if (!tiers) {
            return PyErr_NoMemory();
        }
    }
    const std::unique_ptr<Tiers> old(std::exchange(self->tiers, tiers.release()));
    Py_RETURN_NONE;
}

// _flow(): what _set_flow() was given, or None.
PyObject* function_flow(PyObject* object, PyObject*) {
    const Tiers* const tiers = as_function(object)->tiers;
    return Py_NewRef(tiers == nullptr ? Py_None : tiers->flow.get());
}

// _is_per_instance(): whether instances have entries of their own.
PyObject* function_is_per_instance(PyObject* object, PyObject*) {
    return PyBool_FromLong(as_function(object)->per_instance);
}

// _shared_call(*args, **kwargs): the name of a call in the tiers, and its generations.
PyObject* function_shared_call(PyObject* object, PyObject* const* args, Py_ssize_t count,
                               PyObject* kwnames) {
    FunctionObject* const self = as_function(object);
    if (self->tiers == nullptr) {
        PyErr_SetString(PyExc_RuntimeError, "this function has no tiers");
        return nullptr;
    }
    Tags tags;
    return shared_call(self, {args, static_cast<std::size_t>(count), kwnames}, tags).release();
}

// _drop_entries(): forgets the entries, keeps the statistics. O(1).
PyObject* function_drop_entries(PyObject* object, PyObject*) {
    FunctionObject* const self = as_function(object);
    if (self->mapping) {
        const Ref done(PyObject_CallMethod(as_object(self->cache), "clear", nullptr));
        return done ? Py_NewRef(Py_None) : nullptr;
    }
    EngineStore& store = *self->cache->store;
    try {
        const SpaceId fresh = store.open_space();
        std::swap(store.counters(fresh), store.counters(self->space));
        store.retire_space(std::exchange(self->space, fresh));
        self->salt = store.salt(fresh);
        self->counters = &store.counters(fresh);
    } catch (...) {
        raise_current_exception();
        return nullptr;
    }
    drain(self->cache);
    Py_RETURN_NONE;
}

}  // namespace millpond::bindings
