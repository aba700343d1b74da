#include <bit>
#include <cmath>

#include "hot/arguments.hpp"
#include "hot/function_object.hpp"
#include "hot/key_builder.hpp"
#include "translate_error.hpp"

namespace millpond::bindings {
namespace {

// A call of more arguments than this is keyed the general way, which is then no slower.
constexpr Py_ssize_t kPlainArguments = 16;

// The tag that all entries of an instance carry.
[[nodiscard]] cache::TagHash instance_tag(std::uint64_t token) noexcept { return mix64(token); }

// What a weak reference still refers to, or none.
Ref referent(PyObject* reference) {
    PyObject* found = nullptr;
#if PY_VERSION_HEX >= 0x030D0000
    if (PyWeakref_GetRef(reference, &found) < 0) {
        PyErr_Clear();
    }
#else
    found = PyWeakref_GetObject(reference);
    found = found == Py_None ? nullptr : Py_XNewRef(found);
#endif
    return Ref(found);
}

// Forgets an instance whose weak reference died. `record` is (weak function, token, the address that
// the instance had), so that the death of one of many instances costs no search.
PyObject* forget_instance(PyObject* record, PyObject*) {
    const Ref alive = referent(PyTuple_GET_ITEM(record, 0));
    if (!alive) {
        Py_RETURN_NONE;
    }
    FunctionObject* const self = as_function(alive.get());
    const std::uint64_t token = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(record, 1));
    const auto found = self->instances->find(
        static_cast<PyObject*>(PyLong_AsVoidPtr(PyTuple_GET_ITEM(record, 2))));
    Ref reference;
    if (found != self->instances->end() && found->second.token == token) {
        reference = std::move(found->second.reference);
        self->instances->erase(found);
    }
    self->cache->store->invalidate(instance_tag(token));
    drain(self->cache);
    Py_RETURN_NONE;
}

PyMethodDef g_forget = {"forget_instance", forget_instance, METH_O, nullptr};

// The token of an instance, which stands for it in keys. Tokens are never used twice.
bool instance_token(FunctionObject* self, PyObject* instance, std::uint64_t& token) {
    const auto found = self->instances->find(instance);
    if (found != self->instances->end()) {
        token = found->second.token;
        return true;
    }
    token = mix64(self->salt ^ ++self->next_token) | 1;
    const Ref weak(PyWeakref_NewRef(as_object(self), nullptr));
    const Ref address(PyLong_FromVoidPtr(instance));
    const Ref record(weak && address ? Py_BuildValue("(OKO)", weak.get(), token, address.get())
                                     : nullptr);
    const Ref callback(record ? PyCFunction_New(&g_forget, record.get()) : nullptr);
    if (!callback) {
        return false;
    }
    Ref reference(PyWeakref_NewRef(instance, callback.get()));
    if (!reference) {
        PyErr_Clear();
        raise_error(PythonError::Keying,
                    std::string("methods are cached per instance, and a ") +
                        Py_TYPE(instance)->tp_name +
                        " cannot be weakly referenced: give it a __weakref__ slot, or use "
                        "shared=True (by its fields) or key=");
        return false;
    }
    try {
        (*self->instances)[instance] = Instance{std::move(reference), token};
    } catch (...) {
        raise_current_exception();
        return false;
    }
    return true;
}

// The text of a tag; null with an exception set.
Ref render_tag(const std::vector<TagPart>& parts, std::span<PyObject* const> values) {
    if (parts.size() == 1 && parts[0].text != nullptr) {
        return Ref::share(parts[0].text);
    }
    Ref text(PyUnicode_New(0, 0));
    for (const TagPart& part : parts) {
        const Ref piece(part.text != nullptr ? Py_NewRef(part.text)
                                             : PyObject_Str(values[part.place]));
        if (!piece) {
            return Ref();
        }
        text = Ref(PyUnicode_Concat(text.get(), piece.get()));
        if (!text) {
            return Ref();
        }
    }
    return text;
}

bool key_by_function(FunctionObject* self, const Call& call, CacheKey& key) {
    const Ref made = made_key(self, call);
    return made && key_of(made.get(), self->space, self->salt, false, self->typed, key);
}

// Whether a single argument of this type is a key of one word.
[[nodiscard]] bool is_short_key(PyObject* value, bool typed) noexcept {
    return PyUnicode_CheckExact(value) || PyLong_CheckExact(value) ||
           (!typed && (PyBool_Check(value) || PyFloat_CheckExact(value)));
}

// Mixes the token of an instance into a fingerprint.
void add_token(Fingerprint& print, std::uint64_t token) noexcept {
    if (token != 0) {
        print.lo ^= mix64(token);
        print.hi ^= mix64(token ^ 0x5851F42D4C957F2DULL);
    }
}

// A value of a type whose key is a few words. Runs no user code.
[[nodiscard]] bool is_plain(PyObject* value) noexcept {
    return PyUnicode_CheckExact(value) || PyLong_CheckExact(value) || value == Py_None ||
           PyBool_Check(value) || PyFloat_CheckExact(value);
}

// Adds a plain value as Walker does; false: only Walker can.
[[nodiscard]] bool add_plain(FingerprintSink& sink, PyObject* value, bool typed) noexcept {
    if (PyUnicode_CheckExact(value) && ready_text(value)) {
        sink.text(value);
        return true;
    }
    std::int64_t number = 0;
    if (PyLong_CheckExact(value) && small_int(value, number)) {
        sink.integer(number);
        return true;
    }
    if (value == Py_None) {
        sink.unit(Tag::None);
        return true;
    }
    if (typed && PyBool_Check(value)) {
        sink.unit(value == Py_True ? Tag::True : Tag::False);
        return true;
    }
    if (typed && PyFloat_CheckExact(value) && !std::isnan(PyFloat_AS_DOUBLE(value))) {
        sink.word(Tag::Float, std::bit_cast<std::uint64_t>(PyFloat_AS_DOUBLE(value)));
        return true;
    }
    return false;
}

bool key_by_values(FunctionObject* self, BoundCall& bound, std::uint64_t token, CacheKey& key) {
    const CallPlan& plan = plan_of(self);
    const std::span<PyObject* const> values = bound.values();
    if (self->only_name != nullptr && is_short_key(values[0], self->typed)) {
        return key_of(values[0], self->space, self->salt, false, self->typed, key);
    }
    KeyBuilder builder(KeyOptions{.typed = self->typed, .ordered = self->ordered});
    for (std::size_t i = self->per_instance ? 1 : 0; i < values.size(); ++i) {
        if (!plan.ignored[i] &&
            !builder.add(values[i],
                         PyTuple_GET_ITEM(plan.names.get(), static_cast<Py_ssize_t>(i)))) {
            return false;
        }
    }
    for (PyObject* const value : bound.rest()) {
        if (!builder.add(value)) {
            return false;
        }
    }
    if (!bound.named().empty() && !builder.add_named(bound.named())) {
        return false;
    }
    Fingerprint print = builder.finish();
    add_token(print, token);
    return fingerprint_key(print, builder.leaves(), nullptr, self->space, self->salt, key);
}

}  // namespace

namespace {

// A call of a cache's own loader: (key, loader, ttl, tags, cost), all positional. The entries are
// the cache's, whose space changes when it is cleared.
Keyed key_mapping(FunctionObject* self, const Call& call, CacheKey& key) {
    self->space = self->cache->space;
    self->salt = self->cache->salt;
    return key_of(call.args[0], self->space, self->salt, true, true, key) ? Keyed::Yes
                                                                          : Keyed::Failed;
}

// The token of the instance that a method is called on; 0 for any other call. False with an
// exception set, or without one where the instance is missing.
bool owner_token(FunctionObject* self, const BoundCall& bound, std::uint64_t& token) {
    if (!self->per_instance || self->key_function != nullptr) {
        return true;
    }
    return !bound.values().empty() && instance_token(self, bound.values()[0], token);
}

bool render_tags(const CallPlan& plan, const BoundCall& bound, std::uint64_t token, Tags& tags) {
    for (const std::vector<TagPart>& tag : plan.tags) {
        const Ref text = render_tag(tag, bound.values());
        if (!text) {
            return false;
        }
        tags.push_back(tag_hash(text.get()));
    }
    if (token != 0) {
        tags.push_back(instance_tag(token));
    }
    return true;
}

}  // namespace

bool terms_of(FunctionObject* self, const Call& call, Terms& terms) {
    terms.life = self->rules->life;
    if (!self->mapping) {
        return true;
    }
    const CacheObject* const cache = self->cache;
    terms.life = {cache->ttl, cache->tti, cache->jitter, 0};
    const bool own_life = call.args[2] != missing_default();
    return (!own_life || read_life(call.args[2], "ttl", terms.life.ttl)) &&
           read_cost(call.args[4], terms.life.cost);
}

Keyed key_call(FunctionObject* self, const Call& call, CacheKey& key) {
    if (self->mapping) {
        return key_mapping(self, call, key);
    }
    const CallPlan& plan = plan_of(self);
    if (self->only_name != nullptr && plan.positional == 1 && self->key_function == nullptr) {
        // The common case, without binding: what is looked up is looked up again when it misses.
        PyObject* const argument = only_argument(self, call.args, call.nargsf, call.kwnames);
        if (argument != nullptr && is_short_key(argument, self->typed)) {
            return key_of(argument, self->space, self->salt, false, self->typed, key)
                       ? Keyed::Yes
                       : Keyed::Failed;
        }
    }
    BoundCall bound;
    if (bound.bind(plan, call) != BoundCall::Outcome::Bound) {
        return Keyed::No;
    }
    std::uint64_t token = 0;
    if (!owner_token(self, bound, token)) {
        return PyErr_Occurred() == nullptr ? Keyed::No : Keyed::Failed;
    }
    const bool made = self->key_function != nullptr ? key_by_function(self, call, key)
                                                    : key_by_values(self, bound, token, key);
    return made ? Keyed::Yes : Keyed::Failed;
}

Ref made_key(FunctionObject* self, const Call& call) {
    if (call.made != nullptr && *call.made) {
        return Ref::share(call.made->get());
    }
    Ref made(PyObject_Vectorcall(self->key_function, call.args, call.nargsf, call.kwnames));
    if (call.made != nullptr && made) {
        *call.made = Ref::share(made.get());
    }
    return made;
}

bool plain_key(const FunctionObject* self, const Call& call, KeyRef& key) noexcept {
    for (Py_ssize_t i = self->per_instance ? 1 : 0; i < call.positional() + call.named(); ++i) {
        if (!is_plain(call.args[i])) {
            return false;
        }
    }
    const CallPlan& plan = plan_of(self);
    if (plan.size() > kPlainArguments || (plan.var_named && call.named() > 0)) {
        return false;
    }
    BoundCall bound;
    if (bound.bind(plan, call) != BoundCall::Outcome::Bound || !bound.rest().empty()) {
        return false;
    }
    const std::span<PyObject* const> values = bound.values();
    std::uint64_t token = 0;
    if (self->per_instance) {
        const auto known =
            values.empty() ? self->instances->end() : self->instances->find(values[0]);
        if (known == self->instances->end()) {
            return false;
        }
        token = known->second.token;
    }
    FingerprintSink sink(process_hasher());
    std::uint64_t count = 0;
    for (std::size_t i = self->per_instance ? 1 : 0; i < values.size(); ++i) {
        if (!plan.ignored[i]) {
            if (!add_plain(sink, values[i], self->typed)) {
                return false;
            }
            ++count;
        }
    }
    Fingerprint print = finish_plain(sink, count, {.typed = self->typed, .ordered = self->ordered});
    add_token(print, token);
    key = fingerprint_ref(print, self->space, self->salt);
    return true;
}

bool call_tags(FunctionObject* self, const Call& call, Tags& tags) {
    if (self->mapping) {
        return tag_hashes(call.args[3], tags);
    }
    const CallPlan& plan = plan_of(self);
    BoundCall bound;
    std::uint64_t token = 0;
    return bound.bind(plan, call) == BoundCall::Outcome::Bound && owner_token(self, bound, token) &&
           render_tags(plan, bound, token, tags);
}

bool tag_texts(FunctionObject* self, const Call& call, std::vector<Ref>& texts) {
    if (self->mapping) {
        const Ref given(PyUnicode_Check(call.args[3]) ? PyTuple_Pack(1, call.args[3])
                                                      : PySequence_Tuple(call.args[3]));
        for (Py_ssize_t i = 0; given && i < PyTuple_GET_SIZE(given.get()); ++i) {
            texts.push_back(Ref::share(PyTuple_GET_ITEM(given.get(), i)));
        }
        Tags checked;
        return given && tag_hashes(given.get(), checked);
    }
    if (plan_of(self).tags.empty()) {
        return true;
    }
    BoundCall bound;
    if (bound.bind(plan_of(self), call) != BoundCall::Outcome::Bound) {
        PyErr_SetString(PyExc_TypeError, "the arguments do not fit the signature");
        return false;
    }
    for (const std::vector<TagPart>& tag : plan_of(self).tags) {
        texts.push_back(render_tag(tag, bound.values()));
        if (!texts.back()) {
            return false;
        }
    }
    return true;
}

}  // namespace millpond::bindings
