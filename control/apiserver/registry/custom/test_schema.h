// Schemas of tests, from text.
#pragma once

#include <gtest/gtest.h>

#include <boost/json/value.hpp>
#include <memory>
#include <string>

#include "api/codec/json.h"
#include "control/apiserver/registry/custom/structural_private.h"

namespace sluice::registry::testing {

inline boost::json::value parsed(const std::string& text) {
    auto value = codec::parse_json(text);
    EXPECT_TRUE(value.has_value()) << text;
    return value ? *value : boost::json::value();
}

inline std::unique_ptr<Schema> compiled(const std::string& text) {
    auto schema = compile_schema(parsed(text), "s");
    EXPECT_TRUE(schema.has_value()) << (schema ? "" : schema.error().message);
    return schema ? std::move(*schema) : std::make_unique<Schema>();
}

}  // namespace sluice::registry::testing
