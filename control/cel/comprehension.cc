// Comprehensions: folding over lists and maps.
#include "control/cel/access_private.h"
#include "control/cel/errors_private.h"
#include "control/cel/evaluator_private.h"
#include "control/cel/scalar_key_private.h"

namespace sluice::cel {

// What is gone through: elements and their indices, or keys and their values.
class Evaluator::Range {
public:
    static Result<Range> of(const Value& value, Meter* meter) {
        Range out;
        if (const auto* list = value.as_list()) {
            out.list_ = *list;
            out.size_ = (*list)->size();
            return out;
        }
        const auto* map = value.as_map();
        if (map == nullptr) return no_such_overload();
        if (!meter->elements((*map)->size())) return Meter::stopped();
        out.map_ = *map;
        out.keys_ = (*map)->keys();
        out.size_ = out.keys_.size();
        return out;
    }
    [[nodiscard]] bool done() const { return at_ >= size_; }
    void step() { ++at_; }
    [[nodiscard]] Result<Value> one() const {
        return list_ != nullptr ? list_->at(at_) : Result<Value>(keys_[at_]);
    }
    [[nodiscard]] Value first() const {
        return list_ != nullptr ? Value::integer(static_cast<std::int64_t>(at_)) : keys_[at_];
    }
    [[nodiscard]] Result<Value> second() const {
        if (list_ != nullptr) return list_->at(at_);
        SLUICE_TRY_ASSIGN(auto found, map_->find(keys_[at_]));
        if (!found) return make_error(Code::kNotFound, "no such key: {}", shown(keys_[at_]));
        return std::move(*found);
    }

private:
    Value::ListRef list_;
    Value::MapRef map_;
    std::vector<Value> keys_;
    std::size_t size_ = 0;
    std::size_t at_ = 0;
};

namespace {

// A map in the making; no key comes twice.
class Insertion {
public:
    Result<void> insert(Value key, Value value, Meter* meter) {
        const auto scalar = ScalarKey::of(key);
        if (!scalar) {
            return make_error(Code::kInvalidArgument, "unsupported key type: {}",
                              key.type().name());
        }
        std::string id;
        scalar->append_to(&id);
        if (!meter->build(2 * sizeof(Value) + id.size())) return Meter::stopped();
        if (!seen_.emplace(std::move(id), true).second) {
            return make_error(Code::kAlreadyExists, "insert failed: key {} already exists",
                              shown(key));
        }
        entries_.emplace_back(std::move(key), std::move(value));
        return {};
    }
    Value finish() { return Value::map(std::move(entries_)); }

private:
    std::unordered_map<std::string, bool> seen_;
    std::vector<std::pair<Value, Value>> entries_;
};

constexpr std::uint64_t kListCost = 10;

}  // namespace

Result<void> Evaluator::advance(const Comprehension& loop, Range* range) {
    if (!meter_->elements(1)) return Meter::stopped();
    if (loop.variable2_slot < 0) {
        local(loop.variable_slot) = range->one();
    } else {
        local(loop.variable_slot) = range->first();
        local(loop.variable2_slot) = range->second();
    }
    range->step();
    return {};
}

Result<Value> Evaluator::comprehension(const Expr& expr) {
    const Comprehension& loop = *expr.loop;
    SLUICE_TRY_ASSIGN(const Value value, eval(*loop.range));
    SLUICE_TRY_ASSIGN(Range range, Range::of(value, meter_));
    const Expr* step = loop.step.get();
    const Expr* filter = nullptr;
    if (step->node == Node::kCall && step->operation == Operation::kConditional &&
        step->args[1]->accumulates) {
        filter = step->args[0].get();
        step = step->args[1].get();
    }
    if (step->accumulates) return collect(loop, &range, *step, filter);
    return fold(loop, &range);
}

// What a macro accumulates is built in place: copying it for each element would take the square of its size.
Result<Value> Evaluator::collect(const Comprehension& loop, Range* range, const Expr& step,
                                 const Expr* filter) {
    const bool is_list = loop.init->node == Node::kList;
    std::vector<Value> elements;
    Insertion entries;
    // Making the empty accumulator costs what making one in an expression costs.
    SLUICE_TRY_ASSIGN(const Value empty, eval(*loop.init));
    while (!range->done()) {
        SLUICE_TRY(advance(loop, range));
        if (filter != nullptr) {
            SLUICE_TRY_ASSIGN(const Value chosen, eval(*filter));
            if (chosen.as_bool() == nullptr) return no_such_overload();
            if (!*chosen.as_bool()) {
                if (!meter_->charge(1)) return Meter::stopped();
                continue;
            }
        }
        // The accumulator, and the call that adds to it.
        if (!meter_->charge(2)) return Meter::stopped();
        if (is_list) {
            SLUICE_TRY_ASSIGN(Value element, eval(*step.args[1]->args[0]));
            if (!meter_->charge(kListCost) || !meter_->build(sizeof(Value))) {
                return Meter::stopped();
            }
            elements.push_back(std::move(element));
        } else if (step.args.size() == 3) {
            SLUICE_TRY_ASSIGN(Value key, eval(*step.args[1]));
            SLUICE_TRY_ASSIGN(Value value, eval(*step.args[2]));
            SLUICE_TRY(entries.insert(std::move(key), std::move(value), meter_));
        } else {
            SLUICE_TRY_ASSIGN(const Value added, eval(*step.args[1]));
            const auto* map = added.as_map();
            if (map == nullptr) return no_such_overload();
            for (const Value& key : (*map)->keys()) {
                SLUICE_TRY_ASSIGN(auto value, (*map)->find(key));
                if (value) SLUICE_TRY(entries.insert(key, std::move(*value), meter_));
            }
        }
    }
    if (!meter_->charge(1)) return Meter::stopped();
    return is_list ? Value::list(std::move(elements)) : entries.finish();
}

Result<Value> Evaluator::fold(const Comprehension& loop, Range* range) {
    // Evaluated before its place is written: it may be in the scope of a local that has it.
    auto init = eval(*loop.init);
    if (meter_->exceeded()) return Meter::stopped();
    local(loop.accumulator_slot) = std::move(init);
    while (!range->done()) {
        SLUICE_TRY(advance(loop, range));
        const auto condition = eval(*loop.condition);
        if (meter_->exceeded()) return Meter::stopped();
        const bool* goes_on = condition ? condition->as_bool() : nullptr;
        if (goes_on != nullptr && !*goes_on) break;
        auto next = eval(*loop.step);
        if (meter_->exceeded()) return Meter::stopped();
        // Only "&&" and "||" absorb an error, and only they look at the accumulator to go on.
        if (!next && loop.condition->node == Node::kLiteral) return next;
        local(loop.accumulator_slot) = std::move(next);
    }
    return eval(*loop.result);
}

}  // namespace sluice::cel
