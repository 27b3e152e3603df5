// The table of functions.
#include "control/cel/functions_private.h"

#include <algorithm>

namespace sluice::cel {

namespace {

bool has_parameter(const Type& type) {
    if (type.kind() == Kind::kParam) return true;
    return std::any_of(type.parameters().begin(), type.parameters().end(), has_parameter);
}

}  // namespace

void FunctionTable::add(const std::string& name, Overload overload) {
    overload.generic = has_parameter(overload.result) ||
                       std::any_of(overload.args.begin(), overload.args.end(), has_parameter);
    Function& function = functions_[name];
    function.name = name;
    function.overloads.push_back(std::make_unique<const Overload>(std::move(overload)));
}

void FunctionTable::global(const std::string& name, std::string id, std::vector<Type> args,
                           Type result, Implementation implementation, CostRule cost) {
    add(name, {std::move(id), false, std::move(args), std::move(result), implementation, cost,
               false});
}

void FunctionTable::member(const std::string& name, std::string id, std::vector<Type> args,
                           Type result, Implementation implementation, CostRule cost) {
    add(name, {std::move(id), true, std::move(args), std::move(result), implementation, cost,
               false});
}

const Function* FunctionTable::find(std::string_view name) const {
    const auto found = functions_.find(std::string(name));
    return found == functions_.end() ? nullptr : &found->second;
}

const FunctionTable& all_functions() {
    static const FunctionTable table = [] {
        FunctionTable out;
        add_operators(&out);
        add_conversions(&out);
        add_times(&out);
        add_texts(&out);
        add_strings(&out);
        add_optionals(&out);
        add_lists(&out);
        add_sets(&out);
        add_regexes(&out);
        add_urls(&out);
        add_addresses(&out);
        add_quantities(&out);
        add_formats(&out);
        add_authorizer(&out);
        return out;
    }();
    return table;
}

std::optional<Type> type_named(std::string_view name) {
    static const std::unordered_map<std::string_view, Type> types = {
        {"bool", Type::boolean()},
        {"bytes", Type::bytes()},
        {"double", Type::number()},
        {"int", Type::integer()},
        {"list", Type::list(Type::dyn())},
        {"map", Type::map(Type::dyn(), Type::dyn())},
        {"null_type", Type::null()},
        {"string", Type::string()},
        {"type", Type::type(Type::dyn())},
        {"uint", Type::uinteger()},
        {"google.protobuf.Timestamp", Type::timestamp()},
        {"google.protobuf.Duration", Type::duration()},
        {"optional_type", Type::optional(Type::dyn())},
        {"net.IP", Type::opaque("net.IP")},
        {"net.CIDR", Type::opaque("net.CIDR")},
    };
    const auto found = types.find(name);
    if (found == types.end()) return std::nullopt;
    return found->second;
}

bool fits_type(const Value& value, const Type& type) {
    switch (type.kind()) {
        case Kind::kDyn:
        case Kind::kParam: return true;
        case Kind::kObject: return value.kind() == Kind::kMap;
        case Kind::kOpaque:
            return value.as_opaque() != nullptr &&
                   (*value.as_opaque())->type().name() == type.name();
        default: return value.kind() == type.kind();
    }
}

}  // namespace sluice::cel
