// Parsing into a caller's memory resource. Private to api/codec.
#pragma once

#include <boost/json/storage_ptr.hpp>
#include <boost/json/value.hpp>
#include <string_view>

#include "api/base/result.h"
#include "api/codec/json.h"

namespace sluice::codec {

// As parse_json; the tree lives in storage.
Result<boost::json::value> parse_json_in(std::string_view text, FieldWarnings* warnings,
                                         const boost::json::storage_ptr& storage);

}  // namespace sluice::codec
