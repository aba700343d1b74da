// The one failure type of the engine. An expected outcome (miss, denied, expired) is a value, a bug
// is an assert; Error is for what the caller has to hear about. Bindings translate it in one place.
#pragma once

#include <stdexcept>
#include <string>

namespace millpond {

enum class ErrorCode {
    InvalidArgument,  // what was given is outside what is allowed
    LimitExceeded,    // a stated bound would be passed
    Corrupt,          // bytes that are not what they claim to be
    Unsupported,      // understood, but not possible here
};

// `message` says what was given and what is allowed.
class Error : public std::runtime_error {
  public:
    Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
    [[nodiscard]] ErrorCode code() const noexcept { return code_; }

  private:
    ErrorCode code_;
};

}  // namespace millpond
