// Programs, and activations of a few values.
#include "control/cel/program.h"

#include <algorithm>

#include "control/cel/evaluator_private.h"
#include "control/cel/program_private.h"

namespace sluice::cel {

namespace {

bool names(const Expr& expr, const std::vector<std::string>& variables,
           std::string_view variable) {
    if (expr.node == Node::kIdent && expr.variable >= 0) {
        const std::string& name = variables[static_cast<std::size_t>(expr.variable)];
        const bool field = name.size() > variable.size() && name[variable.size()] == '.';
        if (name.compare(0, variable.size(), variable) == 0 &&
            (field || name.size() == variable.size())) {
            return true;
        }
    }
    const auto in = [&](const ExprPtr& part) { return names(*part, variables, variable); };
    if (std::any_of(expr.args.begin(), expr.args.end(), in)) return true;
    return expr.loop != nullptr &&
           (in(expr.loop->range) || in(expr.loop->init) || in(expr.loop->condition) ||
            in(expr.loop->step) || in(expr.loop->result));
}

}  // namespace

SimpleActivation::SimpleActivation(std::vector<std::pair<std::string, Value>> values) {
    for (auto& [name, value] : values) set(std::move(name), std::move(value));
}

SimpleActivation::Entry* SimpleActivation::entry(std::string_view name) {
    for (Entry& known : entries_) {
        if (known.name == name) return &known;
    }
    entries_.push_back({std::string(name), std::nullopt, nullptr});
    return &entries_.back();
}

void SimpleActivation::set(std::string name, Value value) {
    Entry* place = entry(name);
    place->value = Result<Value>(std::move(value));
    place->make = nullptr;
}

void SimpleActivation::set_lazy(std::string name, Lazy make) {
    Entry* place = entry(name);
    place->value.reset();
    place->make = std::move(make);
}

Result<std::optional<Value>> SimpleActivation::find(std::string_view variable) const {
    for (const Entry& known : entries_) {
        if (known.name != variable) continue;
        if (!known.value) known.value.emplace(known.make());
        SLUICE_TRY_ASSIGN(Value value, Result<Value>(*known.value));
        return std::optional<Value>(std::move(value));
    }
    return std::optional<Value>();
}

Program::Program(std::shared_ptr<const Data> data) : data_(std::move(data)) {}

const Type& Program::output_type() const { return data_->root->type; }
const std::string& Program::expression() const { return data_->text; }
CostEstimate Program::estimate() const { return data_->estimate; }

bool Program::mentions(std::string_view variable) const {
    return names(*data_->root, data_->variables, variable);
}

Evaluation Program::evaluate(const Activation& activation, std::uint64_t cost_limit) const {
    Meter meter(cost_limit);
    auto value = Evaluator(*data_, activation, &meter).run();
    // A limit that was passed is the result even if something absorbed it.
    if (meter.exceeded()) value = Meter::stopped();
    return {std::move(value), meter.cost(), meter.exceeded()};
}

}  // namespace sluice::cel
