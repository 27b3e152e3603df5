// Any text compiles or is refused with issues; any program ends within its cost.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <boost/json.hpp>

#include "control/cel/environment.h"
#include "control/cel/json.h"

using namespace sluice;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const boost::json::value object = boost::json::parse(
        R"({"a": {"b": [1, 2.5, "x", null, true]}, "s": "a text", "l": [[1], [2, 3]]})");
    static const cel::Environment environment({{"self", cel::Type::dyn()}, {"s", cel::Type::string()}});
    static const cel::SimpleActivation activation(
        {{"self", cel::json_view({std::shared_ptr<void>(), &object})},
         {"s", cel::Value::string("another text")}});
    constexpr std::uint64_t kLimit = 100'000;
    std::vector<cel::Issue> issues;
    const auto program =
        environment.compile({reinterpret_cast<const char*>(data), size}, &issues);
    if (!program) {
        SLUICE_ASSERT(!issues.empty() && !program.error().message.empty());
        return 0;
    }
    const cel::Evaluation done = program->evaluate(activation, kLimit);
    SLUICE_ASSERT(done.cost_exceeded || done.cost <= kLimit);
    SLUICE_ASSERT(done.value || !done.value.error().message.empty());
    return 0;
}
