// What an exported library knows of its program: tables of words of 64 bits, which Python writes
// (`tigon/standalone/tables.py` has the same records) and `runtime.c` reads where they lie.
//
// A place is a number of words from the begin of the tables; a text is the place of its first
// letter; a list is a count and the place of its rows. A formula is the place of a polynomial in
// the open extents: how many terms; of each its coefficient, how many factors, and of each factor
// what it is (Factor) and two words.
#ifndef TIGON_STANDALONE_TABLES_H
#define TIGON_STANDALONE_TABLES_H

#define TIGON_MAGIC 0x6e6f676974  // "tigon"

enum Model {
  kModelMagic,
  kModelName,
  kModelLevels,
  kModelLevelsAt,
  kModelInputs,
  kModelInputsAt,
  kModelOutputs,
  kModelOutputsAt,
  kModelExtents,
  kModelExtentsAt,
  kModelStates,
  kModelStatesAt,
  kModelWeights,
  kModelWeightsAt,
  kModelApart,     // 1: weights are in a file of their own
  kModelDistance,  // bytes from the tables to weights that are inside
  kModelBytes,     // of the weights, or of their file
  kModelBegin,     // of the first weight in it
  kModelDigest,    // of the file: two words
  kModelDigestHigh,
  kModelDraws,    // random keys of a run
  kModelUpdates,  // the state that counts runs, or -1
  kModelSize
};

// Inputs, outputs, states and weights.
enum Array {
  kArrayName,
  kArrayDtype,
  kArrayItem,  // bytes of an element
  kArrayDimensions,
  kArrayShapeAt,  // formulas
  kArrayBytes,    // a formula
  kArrayPlace,    // of weights, and of what states begin with: bytes from the first weight
  kArraySize
};

enum Extent { kExtentName, kExtentLikely, kExtentSize };

enum Level {
  kLevelName,
  kLevelFeatures,
  kLevelFeaturesAt,  // texts
  kLevelCode,        // bytes from the tables
  kLevelWays,
  kLevelWaysAt,  // programs: the first one whose conditions hold is run
  kLevelSize
};

enum Way {
  kWayProgram,
  kWaySources,
  kWaySourcesAt,  // of each input of the program: a Source and a number
  kWayTargets,
  kWayTargetsAt,  // of each of its outputs: a Target and a number
  kWaySize
};

// A schedule: of a weight the row that the number of runs before says, or the last.
enum Source { kFromInput, kFromWeight, kFromState, kFromKey, kFromSchedule };
enum Target { kToOutput, kToState, kToStateLater };  // later: when all else is done

enum Program {
  kProgramConditions,
  kProgramConditionsAt,
  kProgramTemporaries,
  kProgramTemporariesAt,
  kProgramConstants,
  kProgramConstantsAt,  // places
  kProgramLaunches,
  kProgramLaunchesAt,
  kProgramInputs,
  kProgramOutputs,
  kProgramSize
};

enum Condition {
  kConditionFormula,
  kConditionTest,
  kConditionAnswer,
  kConditionText,
  kConditionSize
};
enum Test { kIsZero, kIsNegative, kIsNotPositive };

enum Temporary {
  kTemporaryBytes,
  kTemporaryFirst,
  kTemporaryLast,
  kTemporaryShares,
  kTemporarySharesAt,  // numbers of temporaries whose memory it may take over
  kTemporarySize
};

enum Launch {
  kLaunchName,
  kLaunchBuffers,
  kLaunchBuffersAt,  // of each a Space and a number
  kLaunchControl,    // or 0
  kLaunchChoices,
  kLaunchChoicesAt,
  kLaunchSize
};

enum Space { kSpaceInput, kSpaceOutput, kSpaceTemporary, kSpaceConstant, kSpaceNothing };

enum Choice {
  kChoiceConditions,
  kChoiceConditionsAt,
  kChoiceFunction,  // bytes from the begin of the code
  kChoiceSlots,
  kChoiceSlotsAt,  // of each a Form and a number
  kChoicePoints,
  kChoiceGrain,
  kChoiceScratch,
  kChoiceSize
};

// A number as it is; a formula; that as a float64; a float64 divided by a formula, at a place.
enum Form { kAsItIs, kWhole, kReal, kShare };

enum Control {
  kControlKind,
  kControlData,
  kControlStates,
  kControlOthers,
  kControlOuts,
  kControlLoose,
  kControlReverse,
  kControlCounted,
  kControlKeyed,
  kControlMost,  // a formula
  kControlOrdinal,
  kControlRowsAt,   // bytes of the rows of data and stacked results: formulas
  kControlBytesAt,  // of states
  kControlKeptAt,
  kControlBody,
  kControlOther,
  kControlSize
};

enum ControlKind { kLoop, kWhile, kChooses };

enum Factor { kTheExtent, kQuotient, kRest };

#endif
