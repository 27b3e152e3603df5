// What the renderers of this folder share.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <string>
#include <vector>

#include "api/base/ip_address.h"
#include "dataplane/ebpf/inspect.h"

namespace sluice::cli {

// Columns as wide as their widest cell, two spaces apart; the first row is the heading.
std::string table(const std::vector<std::vector<std::string>>& rows);
std::string family_name(IpFamily family);
// "family", "flows", "capacity", "displaced".
boost::json::object to_json(const dataplane::FlowTableUse& use);
inline std::string finish(const boost::json::value& value) {
    return boost::json::serialize(value) + "\n";
}

}  // namespace sluice::cli
