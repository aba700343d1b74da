// Lock policies. The engine's containers take one as a template parameter: NoLock where somebody
// else already serialises the calls (the GIL does), MutexLock where nobody does (C++ tests, builds
// without a GIL). Same code, same tests, and no cost for the first.
//
// The macros name what a lock protects, for clang's thread-safety analysis (-Wthread-safety);
// other compilers do not see them.
#pragma once

#include <mutex>

#if defined(__clang__)
#define MILLPOND_ANNOTATE(x) __attribute__((x))
#else
#define MILLPOND_ANNOTATE(x)
#endif
#define MILLPOND_CAPABILITY(name) MILLPOND_ANNOTATE(capability(name))
#define MILLPOND_SCOPED_CAPABILITY MILLPOND_ANNOTATE(scoped_lockable)
#define MILLPOND_GUARDED_BY(lock) MILLPOND_ANNOTATE(guarded_by(lock))
#define MILLPOND_REQUIRES(lock) MILLPOND_ANNOTATE(requires_capability(lock))
#define MILLPOND_EXCLUDES(lock) MILLPOND_ANNOTATE(locks_excluded(lock))
#define MILLPOND_ACQUIRE(...) MILLPOND_ANNOTATE(acquire_capability(__VA_ARGS__))
#define MILLPOND_RELEASE(...) MILLPOND_ANNOTATE(release_capability(__VA_ARGS__))
#define MILLPOND_TRY_ACQUIRE(...) MILLPOND_ANNOTATE(try_acquire_capability(__VA_ARGS__))

namespace millpond {

// Locks nothing. REQUIRES: the caller serialises all use.
class MILLPOND_CAPABILITY("mutex") NoLock {
  public:
    NoLock() = default;
    NoLock(const NoLock&) = delete;
    NoLock& operator=(const NoLock&) = delete;

    void lock() noexcept MILLPOND_ACQUIRE() {}
    void unlock() noexcept MILLPOND_RELEASE() {}
    [[nodiscard]] bool try_lock() noexcept MILLPOND_TRY_ACQUIRE(true) { return true; }
};

// A mutex, not recursive.
class MILLPOND_CAPABILITY("mutex") MutexLock {
  public:
    MutexLock() = default;
    MutexLock(const MutexLock&) = delete;
    MutexLock& operator=(const MutexLock&) = delete;

    void lock() MILLPOND_ACQUIRE() { mutex_.lock(); }
    void unlock() noexcept MILLPOND_RELEASE() { mutex_.unlock(); }
    [[nodiscard]] bool try_lock() MILLPOND_TRY_ACQUIRE(true) { return mutex_.try_lock(); }

  private:
    std::mutex mutex_;
};

// Holds a lock policy for a scope. std::lock_guard would do, but the analysis cannot see into it.
template <class Lock>
class MILLPOND_SCOPED_CAPABILITY LockGuard {
  public:
    explicit LockGuard(Lock& lock) MILLPOND_ACQUIRE(lock) : lock_(lock) { lock_.lock(); }
    ~LockGuard() MILLPOND_RELEASE() { lock_.unlock(); }
    LockGuard(const LockGuard&) = delete;
    LockGuard& operator=(const LockGuard&) = delete;

  private:
    Lock& lock_;
};

}  // namespace millpond
