#include "hot/function_object.hpp"

#include <algorithm>

#include "hot/async_call.hpp"
#include "hot/function_methods.hpp"
#include "hot/hit.hpp"
#include "hot/interned.hpp"
#include "hot/negative.hpp"
#include "hot/ready.hpp"
#include "translate_error.hpp"

namespace millpond::bindings {

long g_open_scopes = 0;

namespace {

PyTypeObject* g_type = nullptr;

// ---- The hit path

// What becomes of a call, synchronous or not, once it is known what there is for it.
struct Synchronous {
    static PyObject* hand(PyObject* value) { return Py_NewRef(value); }
    static PyObject* load(FunctionObject* self, PyObject* const* args, std::size_t nargsf,
                          PyObject* kwnames, const KeyRef& key) {
        return call_absent(self, args, nargsf, kwnames, key.hash, key.word, key.kind);
    }
    static PyObject* decide(FunctionObject* self, PyObject* const* args, std::size_t nargsf,
                            PyObject* kwnames) {
        return call_slowly(self, args, nargsf, kwnames);
    }
};
struct Asynchronous {
    static PyObject* hand(PyObject* value) { return make_ready(Py_NewRef(value)); }
    static PyObject* load(FunctionObject* self, PyObject* const* args, std::size_t nargsf,
                          PyObject* kwnames, const KeyRef&) {
        return decide(self, args, nargsf, kwnames);
    }
    static PyObject* decide(FunctionObject* self, PyObject* const* args, std::size_t nargsf,
                            PyObject* kwnames) {
        return call_asynchronously(self, Call{args, nargsf, kwnames});
    }
};

// A function whose key= or copy= has to be asked, whatever the arguments.
template <class Kind>
PyObject* call_asking(PyObject* object, PyObject* const* args, std::size_t nargsf,
                      PyObject* kwnames) {
    return Kind::decide(as_function(object), args, nargsf, kwnames);
}

// A function of one parameter, whose value is the key.
template <class Kind>
PyObject* call_with_one(PyObject* object, PyObject* const* args, std::size_t nargsf,
                        PyObject* kwnames) {
    FunctionObject* const self = as_function(object);
    const auto otherwise = [=] { return Kind::decide(self, args, nargsf, kwnames); };
    if (g_open_scopes != 0) [[unlikely]] {
        return otherwise();
    }
    PyObject* const argument = only_argument(self, args, nargsf, kwnames);
    if (argument == nullptr) [[unlikely]] {
        return otherwise();
    }
    return find_live(
        self->cache, self->space, self->salt, argument,
        [=](cache::Entry& entry, Slot slot, Instant now) {
            PyObject* const value = reinterpret_cast<PyObject*>(entry.value);
            if (Py_TYPE(value) == negative_type()) [[unlikely]] {
                return Kind::decide(self, args, nargsf, kwnames);
            }
            self->cache->store->hit(*self->counters, slot, entry, now);
            return Kind::hand(value);
        },
        [=](const KeyRef& key) { return Kind::load(self, args, nargsf, kwnames, key); }, otherwise);
}

// A function of several parameters, or of none, or a method.
template <class Kind>
PyObject* call_with_several(PyObject* object, PyObject* const* args, std::size_t nargsf,
                            PyObject* kwnames) {
    FunctionObject* const self = as_function(object);
    const auto otherwise = [=] { return Kind::decide(self, args, nargsf, kwnames); };
    KeyRef key;
    if (g_open_scopes != 0 || !plain_key(self, Call{args, nargsf, kwnames}, key)) {
        return otherwise();
    }
    return find_live<KeyKind::Fingerprint>(
        self->cache, key,
        [=](cache::Entry& entry, Slot slot, Instant now) {
            PyObject* const value = reinterpret_cast<PyObject*>(entry.value);
            if (Py_TYPE(value) == negative_type()) [[unlikely]] {
                return Kind::decide(self, args, nargsf, kwnames);
            }
            self->cache->store->hit(*self->counters, slot, entry, now);
            return Kind::hand(value);
        },
        [=](const KeyRef& absent) { return Kind::load(self, args, nargsf, kwnames, absent); },
        otherwise);
}

template <class Kind>
vectorcallfunc way_of(const FunctionObject* self) {
    const bool one = self->only_name != nullptr;
    if (self->key_function != nullptr || self->rules->copy || self->mapping ||
        (one && plan_of(self).positional != 1)) {
        return call_asking<Kind>;
    }
    return one ? call_with_one<Kind> : call_with_several<Kind>;
}

void choose_way(FunctionObject* self) {
    self->vectorcall = self->asynchronous ? way_of<Asynchronous>(self) : way_of<Synchronous>(self);
}

// ---- The type

PyObject* function_get(PyObject* self, PyObject* instance, PyObject*) {
    if (instance == nullptr || instance == Py_None) {
        return Py_NewRef(self);
    }
    return PyMethod_New(self, instance);
}

int function_traverse(PyObject* object, visitproc visit, void* arg) {
    FunctionObject* const self = as_function(object);
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->cache);
    Py_VISIT(self->wrapped);
    Py_VISIT(self->dictionary);
    Py_VISIT(self->key_function);
    Py_VISIT(self->parameters);
    if (self->plan != nullptr && *self->plan) {
        Py_VISIT(plan_of(self).names.get());
        Py_VISIT(plan_of(self).defaults.get());
    }
    if (self->rules != nullptr) {
        Py_VISIT(self->rules->exceptions.get());
        Py_VISIT(self->rules->condition.get());
        Py_VISIT(self->rules->cost.get());
        Py_VISIT(self->rules->copy.get());
        Py_VISIT(self->rules->revalidate.get());
    }
    if (self->tiers != nullptr) {
        Py_VISIT(self->tiers->flow.get());
        Py_VISIT(self->tiers->first.get());
    }
    if (self->instances != nullptr) {
        for (const auto& [instance, record] : *self->instances) {
            (void)instance;
            Py_VISIT(record.reference.get());
        }
    }
    return 0;
}

// The entries of a dead function are found by nobody: they go with it.
void leave_cache(FunctionObject* self) {
    CacheObject* const cache = std::exchange(self->cache, nullptr);
    if (cache == nullptr) {
        return;
    }
    if (cache->store != nullptr && !self->mapping) {
        cache->store->retire_space(self->space);
        drain(cache);
    }
    Py_DECREF(cache);
}

int function_clear(PyObject* object) {
    FunctionObject* const self = as_function(object);
    Py_CLEAR(self->dictionary);
    Py_CLEAR(self->parameters);
    delete std::exchange(self->tiers, nullptr);
    if (self->instances != nullptr) {
        std::unordered_map<PyObject*, Instance> instances;
        instances.swap(*self->instances);
    }
    return 0;
}

void function_dealloc(PyObject* object) {
    FunctionObject* const self = as_function(object);
    PyObject_GC_UnTrack(object);
    if (self->weak_references != nullptr) {
        PyObject_ClearWeakRefs(object);
    }
    function_clear(object);
    leave_cache(self);
    Py_CLEAR(self->wrapped);
    Py_CLEAR(self->key_function);
    delete std::exchange(self->instances, nullptr);
    delete std::exchange(self->rules, nullptr);
    delete std::exchange(self->plan, nullptr);
    release_object(object);
}

PyObject* function_repr(PyObject* object) {
    return PyUnicode_FromFormat("<cached %R>", as_function(object)->wrapped);
}

// Function(function, cache, plan, options): what millpond.with_cache has made of its options.
PyObject* function_new(PyTypeObject* type, PyObject* args, PyObject* kwargs);

PyMemberDef g_members[] = {
    offset_member("__vectorcalloffset__", offsetof(FunctionObject, vectorcall)),
    offset_member("__dictoffset__", offsetof(FunctionObject, dictionary)),
    offset_member("__weaklistoffset__", offsetof(FunctionObject, weak_references)),
    {nullptr, 0, 0, 0, nullptr},
};

// What isinstance() and inspect.isfunction() ask: frameworks tell functions from other callables by
// it (Starlette takes what is no function for an ASGI application), and help() too.
PyObject* function_class(PyObject* object, void*) {
    PyObject* const function_class = as_object(&PyFunction_Type);
    PyObject* const wrapped = as_function(object)->wrapped;
    const int plain = wrapped == nullptr ? 0 : PyObject_IsInstance(wrapped, function_class);
    if (plain < 0) {
        return nullptr;
    }
    return Py_NewRef(plain == 1 ? function_class : as_object(Py_TYPE(object)));
}

PyGetSetDef g_getset[] = {
    {"__class__", function_class, nullptr, nullptr, nullptr},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyType_Slot g_slots[] = {
    slot(Py_tp_new, function_new),
    slot(Py_tp_dealloc, function_dealloc),
    slot(Py_tp_traverse, function_traverse),
    slot(Py_tp_clear, function_clear),
    slot(Py_tp_call, PyVectorcall_Call),
    slot(Py_tp_descr_get, function_get),
    slot(Py_tp_repr, function_repr),
    {Py_tp_methods, nullptr},
    {Py_tp_members, g_members},
    {Py_tp_getset, g_getset},
    {0, nullptr},
};

PyType_Spec g_spec = {"millpond._engine.Function", sizeof(FunctionObject), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
                          Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR,
                      g_slots};

// ---- Making one

struct NewArguments {
    PyObject *wrapped, *cache, *plan, *key, *parameters;
    int asynchronous, typed, ordered, per_instance, private_cache, mapping;
    long long ttl, tti, negative_ttl;
    double jitter, cost, wait_timeout;
    PyObject *exceptions, *condition, *cost_function, *copy;
    int cache_none;
    long long stale_while, stale_if;
    PyObject* revalidate;
};

bool read_arguments(PyObject* args, NewArguments& given) {
    return PyArg_ParseTuple(args, "OO!O!OOppppppLLLdddOOOOpLLO", &given.wrapped, cache_type(),
                            &given.cache, &PyTuple_Type, &given.plan, &given.key, &given.parameters,
                            &given.asynchronous, &given.typed, &given.ordered, &given.per_instance,
                            &given.private_cache, &given.mapping, &given.ttl, &given.tti,
                            &given.negative_ttl, &given.jitter, &given.cost, &given.wait_timeout,
                            &given.exceptions, &given.condition, &given.cost_function, &given.copy,
                            &given.cache_none, &given.stale_while, &given.stale_if,
                            &given.revalidate) != 0;
}

Ref unless_none(PyObject* object) { return object == Py_None ? Ref() : Ref::share(object); }

void fill_rules(const NewArguments& given, Rules& rules) {
    rules.life.ttl = given.ttl < 0 ? kForEver : Nanos{given.ttl};
    rules.life.tti = given.tti < 0 ? Nanos::zero() : Nanos{given.tti};
    rules.life.jitter = given.jitter;
    rules.life.cost = given.cost;
    rules.negative_ttl = given.negative_ttl < 0 ? Nanos::zero() : Nanos{given.negative_ttl};
    rules.wait_timeout = given.wait_timeout;
    rules.exceptions = unless_none(given.exceptions);
    rules.condition = unless_none(given.condition);
    rules.cost = unless_none(given.cost_function);
    rules.copy = unless_none(given.copy);
    rules.cache_none = given.cache_none != 0;
    rules.stale_while = given.stale_while < 0 ? Nanos::zero() : Nanos{given.stale_while};
    rules.stale_if = given.stale_if < 0 ? Nanos::zero() : Nanos{given.stale_if};
    rules.life.stale = std::max(rules.stale_while, rules.stale_if);
    rules.revalidate = unless_none(given.revalidate);
}

PyObject* function_new(PyTypeObject* type, PyObject* args, PyObject*) {
    NewArguments given;
    if (!read_arguments(args, given)) {
        return nullptr;
    }
    FunctionObject* const self = as_function(type->tp_alloc(type, 0));
    if (self == nullptr) {
        return nullptr;
    }
    Ref owner(as_object(self));
    self->wrapped = Py_NewRef(given.wrapped);
    self->parameters = Py_NewRef(given.parameters);
    self->key_function = given.key == Py_None ? nullptr : Py_NewRef(given.key);
    self->asynchronous = given.asynchronous != 0;
    self->typed = given.typed != 0;
    self->ordered = given.ordered != 0;
    self->per_instance = given.per_instance != 0;
    self->private_cache = given.private_cache != 0;
    try {
        self->plan = new std::unique_ptr<CallPlan>(make_plan(given.plan));
        if (!*self->plan) {
            return nullptr;
        }
        self->rules = new Rules();
        self->instances = new std::unordered_map<PyObject*, Instance>();
        CacheObject* const cache = as_cache(given.cache);
        self->mapping = given.mapping != 0;
        self->space = self->mapping ? cache->space : cache->store->open_space();
        self->salt = cache->store->salt(self->space);
        self->counters = &cache->store->counters(self->space);
        self->cache = as_cache(Py_NewRef(given.cache));
    } catch (...) {
        raise_current_exception();
        return nullptr;
    }
    fill_rules(given, *self->rules);
    const CallPlan& plan = plan_of(self);
    if (plan.size() == 1 && plan.positional_only <= 1 && !plan.var_positional && !plan.var_named &&
        !plan.ignored[0] && !self->per_instance) {
        self->only_name =
            plan.positional_only == 1 ? Py_None : PyTuple_GET_ITEM(plan.names.get(), 0);
    }
    choose_way(self);
    return owner.release();
}

}  // namespace

PyTypeObject* function_type() noexcept { return g_type; }

int init_function(PyObject* module) {
    for (PyType_Slot& row : g_slots) {
        if (row.slot == Py_tp_methods) {
            row.pfunc = function_method_table();
        }
    }
    g_type = make_heap_type(module, g_spec);
    return g_type == nullptr || init_batches() < 0
               ? -1
               : PyModule_AddObjectRef(module, "Function", as_object(g_type));
}

PyObject* function_set_name(PyObject* object, PyObject* const* args, Py_ssize_t count) {
    FunctionObject* const self = as_function(object);
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "__set_name__() takes a class and a name");
        return nullptr;
    }
    // A class body has bound the function. One that was made there has an instance as its first
    // argument from now on; one from elsewhere is called in its old way too, and stays as it was.
    const Ref owner = attribute_of<"__qualname__">(args[0]);
    const Ref home(owner ? PyUnicode_FromFormat("%U.", owner.get()) : nullptr);
    const Ref own = home ? attribute_of<"__qualname__">(object) : Ref();
    if (!own || !PyUnicode_Check(own.get())) {
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    if (PyUnicode_Tailmatch(own.get(), home.get(), 0, PY_SSIZE_T_MAX, -1) != 1) {
        Py_RETURN_NONE;
    }
    const Ref shared(PyObject_GetItem(self->parameters, Ref(PyUnicode_FromString("shared")).get()));
    if (!shared) {
        return nullptr;
    }
    if (shared.get() == Py_False && self->key_function == nullptr) {
        if (self->tiers != nullptr) {
            raise_error(PythonError::Configuration,
                        "with_cache: a method is cached per instance, and instances are this "
                        "process's own: use shared=True (by the fields of self), key=, or "
                        "tiers=(\"memory\",)");
            return nullptr;
        }
        self->per_instance = true;
        self->only_name = nullptr;
        choose_way(self);
    }
    Py_RETURN_NONE;
}

}  // namespace millpond::bindings
