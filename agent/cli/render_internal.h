// What the renderers of this folder share.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <string>
#include <vector>

#include "api/base/ip_address.h"

namespace sluice::cli {

// Columns as wide as their widest cell, two spaces apart; the first row is the heading.
std::string table(const std::vector<std::vector<std::string>>& rows);
std::string family_name(IpFamily family);
inline std::string finish(const boost::json::value& value) {
    return boost::json::serialize(value) + "\n";
}

}  // namespace sluice::cli
