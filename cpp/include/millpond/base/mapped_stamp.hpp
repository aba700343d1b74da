// A number that processes of one machine share through a small memory-mapped file: whoever makes
// what the others hold old advances it, and they see that at the price of reading memory. It stands
// beside a database file and tells of invalidations there (the engine itself opens no files but
// this one, the metrics segment and the probes).
//
// The file says nothing that has to survive the machine: only change counts, never the number.
// It must not be truncated while somebody maps it, so it belongs in a folder of its owner's alone.
#pragma once

#include <cstdint>
#include <string>

namespace millpond {

class MappedStamp {
  public:
    // Opens the file at `path`, or makes it, readable and writable by its owner alone. Several
    // processes may do so at once. Follows no symbolic link in the last part of the path.
    // Throws std::system_error when the system refuses (a full disk too: the space is reserved, so
    // that no later access can fail), and Error::Corrupt for a file that is something else; that
    // one is left as it is.
    explicit MappedStamp(const std::string& path);
    ~MappedStamp();
    MappedStamp(const MappedStamp&) = delete;
    MappedStamp& operator=(const MappedStamp&) = delete;

    // The number. Thread-safe, wait-free, a load from memory.
    [[nodiscard]] std::uint64_t value() const noexcept;

    // Says that everything up to entry `sequence` of the log of invalidations is committed, and
    // changes the number. REQUIRES: it is. Thread-safe. O(1).
    std::uint64_t advance(std::uint64_t sequence) noexcept;

    // The highest sequence that anybody advanced to. A log that goes further has entries of a
    // process that died between its commit and its advance.
    [[nodiscard]] std::uint64_t announced() const noexcept;

    // For a new log, which counts from the start again: forgets what was announced, and changes
    // the number and the epoch.
    void restart() noexcept;

    // Changes whenever the file beside it is another than before.
    [[nodiscard]] std::uint64_t epoch() const noexcept;

    // Where value() is, for whoever watches it without a call: 8 bytes, aligned, changed by atomic
    // stores, valid while this object lives.
    [[nodiscard]] const std::uint64_t* word() const noexcept;

  private:
    struct Page;
    Page* page_ = nullptr;
};

}  // namespace millpond
