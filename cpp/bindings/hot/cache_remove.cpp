// The methods of CacheBase that remove.
#include <string>
#include <utility>
#include <vector>

#include "hot/cache_methods.hpp"
#include "translate_error.hpp"

namespace millpond::bindings {

int remove_key(CacheObject* self, PyObject* object, Ref* taken) {
    Found found;
    if (!locate(self, object, found)) {
        return -1;
    }
    const bool there = resident(self, found.slot);
    if (there && taken != nullptr) {
        *taken = Ref::share(reinterpret_cast<PyObject*>((*self->store)[found.slot].value));
    }
    self->store->undo_loads(found.key.ref);
    if (found.slot != kNoSlot) {
        self->store->erase(found.slot);
    }
    drain(self);
    return there ? 1 : 0;
}

PyObject* cache_delete(PyObject* object, PyObject* key) {
    const int there = remove_key(as_cache(object), key, nullptr);
    return there < 0 ? nullptr : PyBool_FromLong(there);
}

PyObject* cache_pop(PyObject* object, PyObject* const* args, Py_ssize_t count) {
    if (count < 1 || count > 2) {
        PyErr_Format(PyExc_TypeError, "pop() takes a key and perhaps a default, not %zd arguments",
                     count);
        return nullptr;
    }
    Ref value;
    const int there = remove_key(as_cache(object), args[0], &value);
    if (there < 0) {
        return nullptr;
    }
    if (there > 0) {
        return value.release();
    }
    if (count == 2) {
        return Py_NewRef(args[1]);
    }
    PyErr_SetObject(PyExc_KeyError, args[0]);
    return nullptr;
}

PyObject* cache_clear_all(PyObject* object, PyObject*) {
    CacheObject* const self = as_cache(object);
    EngineStore& store = *self->store;
    try {
        const SpaceId fresh = store.open_space();
        std::swap(store.counters(fresh), store.counters(self->space));
        store.retire_space(std::exchange(self->space, fresh));
        self->salt = store.salt(fresh);
    } catch (...) {
        raise_current_exception();
        return nullptr;
    }
    drain(self);
    Py_RETURN_NONE;
}

PyObject* cache_invalidate_tag(PyObject* object, PyObject* tag) {
    CacheObject* const self = as_cache(object);
    std::vector<cache::TagHash> hashes;
    if (!tag_hashes(tag, hashes)) {
        return nullptr;
    }
    std::size_t count = 0;
    for (const cache::TagHash hash : hashes) {
        count += self->store->invalidate(hash);
    }
    drain(self);
    return PyLong_FromSize_t(count);
}

PyObject* cache_invalidate_hash(PyObject* object, PyObject* hash) {
    CacheObject* const self = as_cache(object);
    const unsigned long long tag = PyLong_AsUnsignedLongLong(hash);
    if (PyErr_Occurred() != nullptr) {
        return nullptr;
    }
    const std::size_t count = self->store->invalidate(tag);
    drain(self);
    return PyLong_FromSize_t(count);
}

// _held_under(hash): (weight, seconds left or None, and of these fresh) of an entry with that tag that
// is held; None for none.
PyObject* cache_held_under(PyObject* object, PyObject* hash) {
    CacheObject* const self = as_cache(object);
    const unsigned long long tag = PyLong_AsUnsignedLongLong(hash);
    if (PyErr_Occurred() != nullptr) {
        return nullptr;
    }
    expire_all(self);
    Slot found = kNoSlot;
    self->store->tags().for_each_slot(tag, [&](Slot slot) {
        const cache::Entry& entry = (*self->store)[slot];
        if (entry.state == cache::EntryState::Resident && !self->store->retired(entry.space)) {
            found = slot;
        }
    });
    if (found == kNoSlot) {
        Py_RETURN_NONE;
    }
    const cache::Entry& entry = (*self->store)[found];
    if (entry.deadline == kNever) {
        return Py_BuildValue("(kOO)", static_cast<unsigned long>(entry.weight), Py_None, Py_None);
    }
    const auto until = [now = store_now(self)](Instant end) {
        return std::chrono::duration<double>(end - now).count();
    };
    return Py_BuildValue("(kdd)", static_cast<unsigned long>(entry.weight),
                         until(self->store->end(found)), until(entry.deadline));
}

PyObject* cache_invalidate_prefix(PyObject* object, PyObject* prefix) {
    CacheObject* const self = as_cache(object);
    if (!PyUnicode_CheckExact(prefix)) {
        raise_error(PythonError::OptionType,
                    std::string("prefix: a str, not ") + Py_TYPE(prefix)->tp_name);
        return nullptr;
    }
    std::vector<Slot> doomed;
    std::size_t live = 0;
    bool refused = false;
    self->store->for_each([&](Slot slot, const cache::Entry& entry) {
        if (entry.space != self->space) {
            return;
        }
        if (entry.kind != static_cast<std::uint8_t>(KeyKind::Str)) {
            refused = true;
            return;
        }
        PyObject* const text = reinterpret_cast<PyObject*>(entry.key);
        if (PyUnicode_Tailmatch(text, prefix, 0, PY_SSIZE_T_MAX, -1) == 1) {
            doomed.push_back(slot);
            live += entry.state == cache::EntryState::Resident ? 1U : 0U;
        }
    });
    if (refused) {
        raise_error(PythonError::Unsupported,
                    "prefix: this cache holds keys that are not str; use tags or predicate=");
        return nullptr;
    }
    for (const Slot slot : doomed) {
        self->store->erase(slot);
    }
    drain(self);
    return PyLong_FromSize_t(live);
}

}  // namespace millpond::bindings
