// The methods of CacheBase that store.
#include <array>
#include <string>
#include <vector>

#include "hot/arguments.hpp"
#include "hot/cache_methods.hpp"
#include "translate_error.hpp"

namespace millpond::bindings {
namespace {

struct Options {
    Life life;
    std::vector<cache::TagHash> tags;
};

bool read_set_options(CacheObject* self, const char* function, PyObject* const* given,
                      PyObject* kwnames, Options& options) {
    options.life = {self->ttl, self->tti, self->jitter, 0};
    if (kwnames == nullptr) {
        return true;
    }
    static constexpr std::array<const char*, 4> kNames = {"ttl", "tti", "tags", "cost"};
    std::array<PyObject*, 4> values{};
    if (!read_options(function, kNames, given, kwnames, values)) {
        return false;
    }
    if (values[0] != nullptr && !read_life(values[0], "ttl", options.life.ttl)) {
        return false;
    }
    if (values[1] != nullptr) {
        if (!read_life(values[1], "tti", options.life.tti)) {
            return false;
        }
        if (options.life.tti == kForEver) {
            options.life.tti = Nanos::zero();
        }
    }
    if (values[2] != nullptr && !tag_hashes(values[2], options.tags)) {
        return false;
    }
    return values[3] == nullptr || read_cost(values[3], options.life.cost);
}

bool two_arguments(const char* function, Py_ssize_t count) {
    if (count == 2) {
        return true;
    }
    PyErr_Format(PyExc_TypeError, "%s() takes a key and a value, not %zd positional arguments",
                 function, count);
    return false;
}

// Stores unless there is a live value: returns it (new reference), or null without an exception.
PyObject* store_absent(CacheObject* self, PyObject* object, PyObject* value, const Options& options,
                       bool* kept) {
    Found found;
    if (!locate(self, object, found)) {
        return nullptr;
    }
    if (resident(self, found.slot)) {
        PyObject* const there = take_hit(self, found.slot, found.now);
        drain(self);
        return there;
    }
    self->store->miss(found.key.ref);
    if (!store_value(self, found.key, self->space, value, options.life, options.tags, kept)) {
        return nullptr;
    }
    return nullptr;
}

// Adds `amount` to the whole number under `key`, which starts at 0 and lives from then on.
PyObject* add_amount(CacheObject* self, PyObject* key, PyObject* amount, const Options& options) {
    Found found;
    if (!locate(self, key, found)) {
        return nullptr;
    }
    Options kept_options = options;
    Ref before;
    if (resident(self, found.slot)) {
        const cache::Entry& entry = (*self->store)[found.slot];
        before = Ref::share(reinterpret_cast<PyObject*>(entry.value));
        kept_options.life.cost = entry.cost.dollars();
        if (!PyLong_Check(before.get())) {
            raise_error(PythonError::OptionType,
                        std::string("incr: the value under this key is a ") +
                            Py_TYPE(before.get())->tp_name + ", not an int");
            return nullptr;
        }
        // The life goes on: only the first increment sets it.
        const Instant deadline = self->store->hard_deadline(found.slot);
        kept_options.life.tti = self->store->idle(found.slot);
        kept_options.life.ttl = deadline == kNever ? kForEver : deadline - store_now(self);
        kept_options.life.jitter = 0;
        self->store->tags().for_each(
            found.slot, [&kept_options](cache::TagHash tag) { kept_options.tags.push_back(tag); });
    }
    Ref sum(before ? PyNumber_Add(before.get(), amount) : Py_NewRef(amount));
    bool kept = false;
    if (!sum || !store_value(self, found.key, self->space, sum.get(), kept_options.life,
                             kept_options.tags, &kept)) {
        return nullptr;
    }
    return sum.release();
}

PyObject* count_by(PyObject* object, PyObject* const* args, Py_ssize_t count, PyObject* kwnames,
                   bool down) {
    CacheObject* const self = as_cache(object);
    const char* const name = down ? "decr" : "incr";
    if (count < 1 || count > 2 || (count == 2 && !PyLong_Check(args[1]))) {
        PyErr_Format(PyExc_TypeError, "%s() takes a key and perhaps an int to count by", name);
        return nullptr;
    }
    Options options;
    if (!read_set_options(self, name, args + count, kwnames, options)) {
        return nullptr;
    }
    Ref amount(count == 2 ? Py_NewRef(args[1]) : PyLong_FromLong(1));
    if (amount && down) {
        amount = Ref(PyNumber_Negative(amount.get()));
    }
    return amount ? add_amount(self, args[0], amount.get(), options) : nullptr;
}

}  // namespace

PyObject* cache_set(PyObject* object, PyObject* const* args, Py_ssize_t count, PyObject* kwnames) {
    CacheObject* const self = as_cache(object);
    Options options;
    CacheKey key;
    bool kept = false;
    if (!two_arguments("set", count) ||
        !read_set_options(self, "set", args + count, kwnames, options) ||
        !key_of(args[0], self->space, self->salt, true, true, key) ||
        !store_value(self, key, self->space, args[1], options.life, options.tags, &kept)) {
        return nullptr;
    }
    return PyBool_FromLong(kept);
}

PyObject* cache_add(PyObject* object, PyObject* const* args, Py_ssize_t count, PyObject* kwnames) {
    CacheObject* const self = as_cache(object);
    Options options;
    bool kept = false;
    if (!two_arguments("add", count) ||
        !read_set_options(self, "add", args + count, kwnames, options)) {
        return nullptr;
    }
    const Ref there(store_absent(self, args[0], args[1], options, &kept));
    if (!there && PyErr_Occurred() != nullptr) {
        return nullptr;
    }
    return PyBool_FromLong(!there && kept);
}

PyObject* cache_get_or_set(PyObject* object, PyObject* const* args, Py_ssize_t count,
                           PyObject* kwnames) {
    CacheObject* const self = as_cache(object);
    Options options;
    bool kept = false;
    if (!two_arguments("get_or_set", count) ||
        !read_set_options(self, "get_or_set", args + count, kwnames, options)) {
        return nullptr;
    }
    PyObject* const there = store_absent(self, args[0], args[1], options, &kept);
    if (there != nullptr || PyErr_Occurred() != nullptr) {
        return there;
    }
    return Py_NewRef(args[1]);
}

PyObject* cache_touch(PyObject* object, PyObject* const* args, Py_ssize_t count,
                      PyObject* kwnames) {
    CacheObject* const self = as_cache(object);
    if (count != 1) {
        PyErr_Format(PyExc_TypeError, "touch() takes a key, not %zd positional arguments", count);
        return nullptr;
    }
    Options options;
    Found found;
    if (!read_set_options(self, "touch", args + count, kwnames, options) ||
        !locate(self, args[0], found)) {
        return nullptr;
    }
    const bool there = resident(self, found.slot);
    if (there) {
        const Instant now = store_now(self);
        const cache::Keep keep = keep_for(self, options.life, 0, now);
        self->store->touch(found.slot, keep.deadline, keep.idle, now);
    }
    drain(self);
    return PyBool_FromLong(there);
}

PyObject* cache_incr(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* kwnames) {
    return count_by(self, args, count, kwnames, false);
}
PyObject* cache_decr(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* kwnames) {
    return count_by(self, args, count, kwnames, true);
}

}  // namespace millpond::bindings
