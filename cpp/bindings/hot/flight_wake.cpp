// How those who wait on a flight hear of its end, and how they leave it.
#include <algorithm>
#include <utility>
#include <vector>

#include "hot/flight_group.hpp"
#include "hot/flight_state.hpp"
#include "hot/heap_type.hpp"
#include "hot/interned.hpp"
#include "hot/loops.hpp"

namespace millpond::bindings {
namespace {

// Runs in the loop's own thread, on the list of its calls.
PyObject* schedule_batch(PyObject* calls, PyObject*) {
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(calls); ++i) {
        Ref call = Ref::share(PyList_GET_ITEM(calls, i));
        schedule_here(reinterpret_cast<AsyncCallObject*>(call.get()));
    }
    Py_RETURN_NONE;
}
PyMethodDef batch_method = {"schedule_batch", schedule_batch, METH_NOARGS, nullptr};

bool send_batch(PyObject* loop, PyObject* calls) {
    Ref function(PyCFunction_New(&batch_method, calls));
    if (!function) {
        PyErr_WriteUnraisable(loop);
        return false;
    }
    return call_soon_threadsafe(loop, function.get());
}

// The calls of each loop but the one that runs here.
class Batches {
  public:
    void add(AsyncCallObject* call) {
        auto found = std::ranges::find_if(
            batches_, [&](const auto& batch) { return batch.first.get() == call->loop; });
        if (found == batches_.end()) {
            found = batches_.emplace(batches_.end(), Ref::share(call->loop), Ref(PyList_New(0)));
        }
        if (!found->second || PyList_Append(found->second.get(), as_object(call)) < 0) {
            PyErr_WriteUnraisable(call->loop);
        }
    }

    // A loop that is closed meanwhile is skipped: its tasks will never run again.
    void send() {
        for (const auto& [loop, calls] : batches_) {
            if (calls) {
                (void)send_batch(loop.get(), calls.get());
            }
        }
    }

  private:
    std::vector<std::pair<Ref, Ref>> batches_;
};

}  // namespace

AsyncCallObject* unlink_call(AsyncCallObject* call) {
    FlightObject* flight = call->flight;
    (call->prev != nullptr ? call->prev->next : flight->first) = call->next;
    (call->next != nullptr ? call->next->prev : flight->last) = call->prev;
    call->prev = call->next = nullptr;
    if (flight->leader == call) {
        flight->leader = nullptr;
    }
    return call;
}

bool schedule_here(AsyncCallObject* call) {
    Ref callback(std::exchange(call->callback, nullptr));
    Ref context(std::exchange(call->context, nullptr));
    Ref loop = Ref::share(call->loop);
    if (!callback) {
        return true;  // its task is still on the way to add_done_callback, which will see the state
    }
    if (context) {
        return call_soon(loop.get(), callback.get(), as_object(call), context.get());
    }
    bool taken = true;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(callback.get()); ++i) {
        Ref pair = Ref::share(PyList_GET_ITEM(callback.get(), i));
        // A list has no null items. NOLINTNEXTLINE(clang-analyzer-core.NullDereference)
        taken = call_soon(loop.get(), PyTuple_GET_ITEM(pair.get(), 0), as_object(call),
                          PyTuple_GET_ITEM(pair.get(), 1)) &&
                taken;
    }
    return taken;
}

bool schedule_anywhere(AsyncCallObject* call) {
    if (runs_in_this_thread(call->loop)) {
        return schedule_here(call);
    }
    Ref calls(PyList_New(0));
    if (!calls || PyList_Append(calls.get(), as_object(call)) < 0) {
        PyErr_WriteUnraisable(call->loop);
        return false;
    }
    return send_batch(call->loop, calls.get());
}

void wake(const std::vector<std::uint64_t>& handles) {
    if (handles.empty()) {
        return;
    }
    // All change state before any of a loop's code runs, so that nobody sees half of a landing.
    std::vector<Ref> calls;
    for (const std::uint64_t handle : handles) {
        if ((handle & 1) != 0) {
            auto* waiter = reinterpret_cast<ThreadWaiter*>(handle - 1);
            waiter->state = ThreadState::Over;
            PyThread_release_lock(waiter->lock);
        } else {
            auto* call = reinterpret_cast<AsyncCallObject*>(handle);
            calls.emplace_back(as_object(unlink_call(call)));
            call->state = CallState::Woken;
        }
    }
    if (calls.empty()) {
        return;
    }
    Ref here(running_loop());
    Batches elsewhere;
    for (const Ref& owned : calls) {
        auto* call = reinterpret_cast<AsyncCallObject*>(owned.get());
        if (call->loop == here.get()) {
            schedule_here(call);
        } else {
            elsewhere.add(call);
        }
    }
    elsewhere.send();
}

namespace {

// Cancels the task that runs the load, in its loop's thread.
// REQUIRES: flight->task.
void cancel_load(FlightObject* flight) {
    Ref keep = Ref::share(as_object(flight));
    Ref task = Ref::share(flight->task);
    Ref loop = Ref::share(flight->loop);
    if (runs_in_this_thread(loop.get())) {
        const Ref done = call_method<"cancel">(task.get());
        if (!done) {
            PyErr_WriteUnraisable(task.get());
        }
        return;
    }
    Ref cancel = attribute_of<"cancel">(task.get());
    if (!cancel || !call_soon_threadsafe(loop.get(), cancel.get())) {
        PyErr_Clear();
        hand_over(flight);
    }
}

}  // namespace

void stop_unneeded(FlightObject* flight) {
    const FlightGroup* const group = flight->group;
    FlightObject* const loading = group == nullptr ? flight : group->whole();
    if (loading == nullptr || loading->task == nullptr ||
        (group != nullptr && group->is_waited_for())) {
        return;
    }
    cancel_load(loading);
}

void leave_flight(AsyncCallObject* call) {
    Ref keep_call(as_object(unlink_call(call)));
    Ref flight = Ref::share(as_object(call->flight));
    auto* left = reinterpret_cast<FlightObject*>(flight.get());
    if (flights().leave(call->waiter) == LeaveOutcome::LastLeft) {
        stop_unneeded(left);
    }
}

}  // namespace millpond::bindings
