// Any bytes as YAML: nothing breaks, and a tree that was read is written to text that reads the same.
#include <boost/json/value.hpp>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "api/codec/json.h"
#include "api/codec/yaml.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace sluice::codec;
    const auto tree = yaml_to_json({reinterpret_cast<const char*>(data), size});
    if (!tree) return 0;
    const auto again = yaml_to_json(json_to_yaml(*tree));
    SLUICE_ASSERT(again);
    // The order of members changes, their values do not.
    SLUICE_ASSERT(*again == *tree);
    return 0;
}
