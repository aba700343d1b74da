#include "millpond/base/error.hpp"
