#include "millpond/cache/tier_monitor.hpp"

#include <algorithm>
#include <new>
#include <utility>

#include "millpond/base/hash.hpp"

namespace millpond::cache {
namespace {

// A ticket, from its lowest bit: operation, epoch of either breaker, start in units of 128 ns.
constexpr int kOpBits = 4;
constexpr int kEpochBits = 7;
constexpr int kStartBits = 45;
constexpr int kUnitBits = 7;  // of a nanosecond to a unit
static_assert(kOpBits + 2 * kEpochBits + kStartBits == 63 && kTierOps <= 1U << kOpBits);

constexpr std::uint64_t low(std::uint64_t value, int bits) noexcept {
    return value & ((std::uint64_t{1} << bits) - 1);
}

// The latest epoch up to the present one that ends in these bits.
constexpr std::uint32_t epoch_of(std::uint64_t bits, std::uint32_t present) noexcept {
    return present - static_cast<std::uint32_t>(low(present - bits, kEpochBits));
}

std::uint64_t units_since(Instant born, Instant now) noexcept {
    return low(static_cast<std::uint64_t>((now - born).count()) >> kUnitBits, kStartBits);
}

template <std::size_t kCount, class Value>
std::string_view name_in(const std::array<std::string_view, kCount>& names, Value value) noexcept {
    return names[static_cast<std::size_t>(value)];
}

}  // namespace

std::string_view name_of(TierOp op) noexcept {
    static constexpr std::array<std::string_view, kTierOps> kNames = {
        "fetch", "store", "write",   "delete", "bump",  "stamp",
        "incr",  "scan",  "inspect", "erase",  "lease", "confirm",
    };
    return name_in(kNames, op);
}

std::string_view name_of(TierOutcome outcome) noexcept {
    static constexpr std::array<std::string_view, kTierOutcomes> kNames = {
        "ok",   "timeout",       "unavailable", "not_ready",
        "full", "configuration", "damaged",     "cancelled",
    };
    return name_in(kNames, outcome);
}

std::string_view name_of(TierEvent event) noexcept {
    static constexpr std::array<std::string_view, kTierEvents> kNames = {
        "hit",          "absent", "stale_generation", "expired", "unreadable", "fill_refused",
        "fill_dropped", "stale",  "stale_hit",
    };
    return name_in(kNames, event);
}

std::string_view name_of(TierNotice notice) noexcept {
    static constexpr std::array<std::string_view, 6> kNames = {
        "", "opened", "closed", "full", "room", "configuration",
    };
    return name_in(kNames, notice);
}

TierMonitor::TierMonitor(const TierMonitorOptions& options, std::uint64_t seed, Instant now)
    : options_(options),
      born_(now),
      calls_(options.breaker, mix64(seed)),
      room_(options.breaker, mix64(seed + 1)) {
    stats_.recent.reserve(kRecentOutages);
}

std::int64_t TierMonitor::begin(TierOp op, Instant now) noexcept {
    const bool out = !calls_.admits();
    if (out || (!room_.admits() && needs_room(op))) {
        ++stats_.operations[static_cast<std::size_t>(op)].refused;
        return out ? kOut : kNoRoom;
    }
    ++stats_.in_flight;
    std::uint64_t ticket = units_since(born_, now);
    ticket = ticket << kEpochBits | low(room_.epoch(), kEpochBits);
    ticket = ticket << kEpochBits | low(calls_.epoch(), kEpochBits);
    return static_cast<std::int64_t>(ticket << kOpBits | static_cast<std::uint64_t>(op));
}

TierNotice TierMonitor::end(std::int64_t ticket, TierOutcome outcome, TierBytes bytes,
                            Instant now) noexcept {
    auto bits = static_cast<std::uint64_t>(ticket);
    const auto op = static_cast<TierOp>(std::min<std::uint64_t>(low(bits, kOpBits), kTierOps - 1));
    bits >>= kOpBits;
    const std::uint32_t epoch = epoch_of(low(bits, kEpochBits), calls_.epoch());
    bits >>= kEpochBits;
    const std::uint32_t room_epoch = epoch_of(low(bits, kEpochBits), room_.epoch());
    bits >>= kEpochBits;
    std::uint64_t units = low(units_since(born_, now) - bits, kStartBits);
    if (units >> (kStartBits - 1) != 0) {
        units = 0;  // The clock has stepped back.
    }
    const Nanos took{static_cast<Nanos::rep>(units << kUnitBits)};

    TierOpStats& stats = stats_.operations[static_cast<std::size_t>(op)];
    stats_.in_flight -= stats_.in_flight > 0 ? 1 : 0;  // One from before a fork was never counted.
    ++stats.outcomes[static_cast<std::size_t>(outcome)];
    stats.bytes.in += bytes.in;
    stats.bytes.out += bytes.out;

    TierNotice notice = TierNotice::None;
    if (calls_.record(judge(op, outcome, took), epoch, now)) {
        notice = opened(outcome, now);
    }
    if (needs_room(op) && (outcome == TierOutcome::Ok || outcome == TierOutcome::Full)) {
        const bool failed = outcome == TierOutcome::Full;
        if (room_.record(failed ? CallResult::Failed : CallResult::Good, room_epoch, now)) {
            ++stats_.times_full;
            notice = notice == TierNotice::None ? TierNotice::Full : notice;
        }
    }
    if (outcome == TierOutcome::Configuration && notice == TierNotice::None &&
        !configuration_said_) {
        configuration_said_ = true;
        notice = TierNotice::Configuration;
    }
    if (outcome != TierOutcome::Cancelled) {
        try {
            stats.latency.record(static_cast<double>(took.count()) * 1e-9);
            // NOLINTNEXTLINE(bugprone-empty-catch): as said below
        } catch (const std::bad_alloc&) {
            // One number less is better than a call that fails.
        }
    }
    return notice;
}

CallResult TierMonitor::judge(TierOp op, TierOutcome outcome, Nanos took) const noexcept {
    // Who may not ask for replicas, or waits for them in vain, may use the tier all the same.
    if (op == TierOp::Confirm && (outcome == TierOutcome::Ok || outcome == TierOutcome::Timeout ||
                                  outcome == TierOutcome::Configuration)) {
        return CallResult::Void;
    }
    switch (outcome) {
        case TierOutcome::Ok:
        case TierOutcome::Full:  // It answered; the other breaker sees to it.
            return took > options_.slow ? CallResult::Slow : CallResult::Good;
        case TierOutcome::Timeout:
            return took < options_.patience ? CallResult::Void : CallResult::Failed;
        case TierOutcome::Unavailable:
        case TierOutcome::NotReady:
        case TierOutcome::Configuration:
        case TierOutcome::Damaged: return CallResult::Failed;
        case TierOutcome::Cancelled: break;
    }
    return CallResult::Void;
}

TierNotice TierMonitor::opened(TierOutcome cause, Instant now) noexcept {
    ++stats_.outages;
    outage_ = TierOutage{now, Nanos{0}, cause};
    return TierNotice::Opened;
}

TierNotice TierMonitor::closed(Instant now) noexcept {
    configuration_said_ = false;
    if (!outage_) {
        return TierNotice::None;
    }
    TierOutage outage = *outage_;
    outage_.reset();
    outage.length = std::max(now - outage.start, Nanos{0});
    stats_.out += outage.length;
    if (stats_.recent.size() == kRecentOutages) {
        stats_.recent.erase(stats_.recent.begin());
    }
    stats_.recent.push_back(outage);
    return TierNotice::Closed;
}

Instant TierMonitor::next_probe() const noexcept {
    // Whether there is room is asked of a tier that answers.
    return calls_.admits() ? room_.next_probe() : calls_.next_probe();
}

std::optional<TierMonitor::Probe> TierMonitor::begin_probe(Instant now) noexcept {
    const bool write = calls_.admits();
    const std::optional<std::uint32_t> epoch =
        write ? room_.begin_probe(now) : calls_.begin_probe(now);
    if (!epoch) {
        return std::nullopt;
    }
    ++stats_.probes;
    probed_at_ = now;
    return Probe{write, *epoch};
}

TierNotice TierMonitor::end_probe(const Probe& probe, TierOutcome outcome, Instant now) noexcept {
    // A full tier is one that answers, unless room is what the probe is about.
    const bool full = outcome == TierOutcome::Full && probe.write;
    const CallResult result =
        full ? CallResult::Failed
             : judge(TierOp::Fetch, outcome, std::max(now - probed_at_, Nanos{0}));
    stats_.failed_probes += result == CallResult::Good ? 0 : 1;
    if (probe.write) {
        return room_.end_probe(result, probe.epoch, now) ? TierNotice::Room : TierNotice::None;
    }
    return calls_.end_probe(result, probe.epoch, now) ? closed(now) : TierNotice::None;
}

void TierMonitor::forked(std::uint64_t seed, Instant now) noexcept {
    TierStats fresh;
    fresh.recent.swap(stats_.recent);  // Its memory, not what is in it.
    fresh.recent.clear();
    stats_ = std::move(fresh);
    calls_.forked(seed, now);
    room_.forked(seed + 1, now);
    if (outage_) {
        stats_.outages = 1;
        outage_->start = now;
    }
}

}  // namespace millpond::cache
