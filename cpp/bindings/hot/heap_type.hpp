// What every raw C-API heap type in hot/ needs: the member names that 3.11 spells otherwise, slot
// and method tables without casts at each line, creation, free lists, and an owning reference.
//
// Conventions, so that no type has to be read twice:
//   * flags: Py_TPFLAGS_DEFAULT | HAVE_GC | IMMUTABLETYPE | DISALLOW_INSTANTIATION as it applies;
//   * tp_traverse visits Py_TYPE(self) first, takes no lock and allocates nothing;
//   * tp_dealloc: PyObject_GC_UnTrack(self), clear the members, then
//     release_object(self, free_list);
//   * a member is cleared with Py_CLEAR (the slot is null before the old value dies), and no
//     borrowed reference is held across a call that can run a user's code.
#pragma once

#include <Python.h>

#if PY_VERSION_HEX < 0x030C0000
#include <structmember.h>
#define Py_T_PYSSIZET T_PYSSIZET
#define Py_T_OBJECT_EX T_OBJECT_EX
#define Py_T_BOOL T_BOOL
#define Py_READONLY READONLY
#endif

#include <array>
#include <cstddef>
#include <utility>

namespace millpond::bindings {

// Owns one reference, or none. REQUIRES: the GIL, also when it is destroyed; so it must not live
// across a point where a thread waits for the GIL without one (see flight_wait).
class Ref {
  public:
    Ref() noexcept = default;
    // Takes over a reference that the caller owns ("new" in the C-API's words).
    explicit Ref(PyObject* stolen) noexcept : object_(stolen) {}
    // Adds a reference to a borrowed one.
    [[nodiscard]] static Ref share(PyObject* borrowed) noexcept {
        return Ref(Py_XNewRef(borrowed));
    }

    Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
    Ref& operator=(Ref&& other) noexcept {
        PyObject* old = std::exchange(object_, std::exchange(other.object_, nullptr));
        Py_XDECREF(old);
        return *this;
    }
    Ref(const Ref&) = delete;
    Ref& operator=(const Ref&) = delete;
    ~Ref() { Py_XDECREF(object_); }

    [[nodiscard]] PyObject* get() const noexcept { return object_; }
    [[nodiscard]] PyObject* release() noexcept { return std::exchange(object_, nullptr); }
    [[nodiscard]] explicit operator bool() const noexcept { return object_ != nullptr; }

  private:
    PyObject* object_ = nullptr;
};

// One row of a slot table.
template <typename Function>
[[nodiscard]] inline PyType_Slot slot(int id, Function* function) noexcept {
    return {id, reinterpret_cast<void*>(function)};
}

// `__vectorcalloffset__`, `__dictoffset__` or `__weaklistoffset__`.
[[nodiscard]] constexpr PyMemberDef offset_member(const char* name, std::size_t offset) noexcept {
    return {name, Py_T_PYSSIZET, static_cast<Py_ssize_t>(offset), Py_READONLY, nullptr};
}

// One row of a method table; takes the function in the shape that its METH_ flags call for.
template <typename Function>
[[nodiscard]] inline PyMethodDef method(const char* name, Function* function, int flags,
                                        const char* doc) noexcept {
    return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function)), flags,
            doc};
}

// A name that is kept for good, to look attributes up by. False with an exception set.
[[nodiscard]] inline bool intern(PyObject*& kept, const char* name) noexcept {
    kept = PyUnicode_InternFromString(name);
    return kept != nullptr;
}

// The type, or null with an exception set. `module` may be null for types that no user constructs.
[[nodiscard]] inline PyTypeObject* make_heap_type(PyObject* module, PyType_Spec& spec) {
    return reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &spec, nullptr));
}

template <typename Object>
[[nodiscard]] inline PyObject* as_object(Object* object) noexcept {
    return reinterpret_cast<PyObject*>(object);
}

// Free lists hide use-after-free from ASAN and are not thread-safe: they need the GIL.
#if defined(__SANITIZE_ADDRESS__) || defined(Py_GIL_DISABLED)
inline constexpr bool kFreeListsOn = false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
inline constexpr bool kFreeListsOn = false;
#else
inline constexpr bool kFreeListsOn = true;
#endif
#else
inline constexpr bool kFreeListsOn = true;
#endif

// Brings a dead object that kept its type reference back to life with one reference.
inline void revive(PyObject* object) noexcept {
#if defined(Py_REF_DEBUG) || defined(Py_TRACE_REFS)
    _Py_NewReference(object);
#else
    Py_SET_REFCNT(object, 1);
#endif
}

// Up to `capacity` dead GC objects of one final type, kept with their type reference for the next.
// The type must have no tp_finalize (the collector remembers that it ran) and no subclasses.
// REQUIRES: the GIL. O(1).
template <typename Object, std::size_t capacity>
class FreeList {
  public:
    // A new object: reference count 1, not yet tracked by the collector, members not initialised.
    // Null with MemoryError set.
    [[nodiscard]] Object* take(PyTypeObject* type) {
        if (count_ == 0) {
            return PyObject_GC_New(Object, type);
        }
        Object* object = objects_[--count_];
        revive(as_object(object));
        return object;
    }

    // Keeps the object and returns true, or returns false when full.
    // REQUIRES: untracked, all members released, no reference left.
    [[nodiscard]] bool give(Object* object) noexcept {
        if (!kFreeListsOn || count_ == capacity) {
            return false;
        }
        objects_[count_++] = object;
        return true;
    }

  private:
    std::array<Object*, capacity> objects_{};
    std::size_t count_ = 0;
};

// The tail of a tp_dealloc: gives the memory back and drops the instance's reference to its type.
// REQUIRES: untracked, all members released.
template <typename Object>
inline void release_object(Object* object) {
    PyTypeObject* type = Py_TYPE(as_object(object));
    type->tp_free(object);
    Py_DECREF(type);
}

// The same for a type with a free list.
template <typename Object, std::size_t capacity>
inline void release_object(Object* object, FreeList<Object, capacity>& free_list) {
    if (!free_list.give(object)) {
        release_object(object);
    }
}

}  // namespace millpond::bindings
