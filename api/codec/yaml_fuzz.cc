// Any bytes as YAML: nothing breaks, and a tree that was read is written to text that reads the same.
#include <boost/json/value.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "api/codec/json.h"
#include "api/codec/yaml.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace sluice::codec;
    const auto tree = yaml_to_json({reinterpret_cast<const char*>(data), size});
    if (!tree) return 0;
    const std::string text = json_to_yaml(*tree);
    const auto again = yaml_to_json(text);
    SLUICE_ASSERT(again);
    // As texts: a large float without fraction reads back as an integer of the same digits.
    SLUICE_ASSERT(json_to_yaml(*again) == text);
    return 0;
}
