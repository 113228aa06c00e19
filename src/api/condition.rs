//! Condition types and reasons, each in one place. Conditions are stock `metav1.Condition`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// Declares a closed set of words, written in CamelCase as the API shows them.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }
        impl $name {
            /// Every word of this set.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The word as it stands in status.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),+ }
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Type of a condition.
    ConditionType {
        /// kstatus: the object is what its spec asks for.
        Ready,
        /// kstatus: work is going on.
        Reconciling,
        /// kstatus: nothing will happen until somebody acts.
        Stalled,
        /// The platforms accept the credentials.
        CredentialsValid,
        /// The platforms answer.
        PlatformReachable,
        /// Every required variable is present.
        EnvironmentComplete,
        /// The newest good backup is young enough.
        BackupFresh,
        /// Deploys of the target are held.
        Frozen,
        /// The run ended well.
        Succeeded,
        /// What was written was read back and matched.
        Verified,
        /// The backup can still be restored.
        Restorable,
        /// A health policy said that the target was healthy.
        Healthy,
        /// A plan is frozen in status.
        Planned,
        /// The plan may be carried out.
        Confirmed,
        /// The policy may act.
        Armed,
        /// The store answers and can be used.
        Available,
    }
}

words! {
    /// Reason of a condition, an event or a metric.
    Reason {
        AsExpected,
        Unknown,
        Pending,
        Progressing,
        Suspended,
        ObserveOnly,
        NotYetSupported,
        InvalidSpec,
        DoesNotDecode,
        InternalError,
        TargetNotFound,
        TargetUidMismatch,
        TargetNotReady,
        ComponentUnknown,
        CycleInDependsOn,
        SecretNotFound,
        SecretKeyMissing,
        SecretNotLabelled,
        SecretAccessDenied,
        EndpointNotAllowed,
        CredentialsRejected,
        PermissionDenied,
        CredentialsAccepted,
        PlatformUnreachable,
        PlatformAnswered,
        UnexpectedAnswer,
        RateLimited,
        ResourceGone,
        VariablesMissing,
        VariablesPresent,
        NoBackup,
        BackupTooOld,
        BackupRecent,
        BackupNotFound,
        BackupNotVerified,
        BackupOfAnotherTarget,
        BackupAltered,
        BackupLacksComponent,
        NoBackupForDeploy,
        NoPreviousDeploy,
        NoHealthyBackup,
        RequestNotFound,
        RequestNotEnded,
        NoSafetyBackup,
        NothingToFailBack,
        ResourcesOverlap,
        DumpOfNewerServer,
        RolesMissing,
        ExtensionsMissing,
        FlagUnknown,
        Undoing,
        Undone,
        NothingToRollBack,
        AmbiguousCommit,
        DeployGone,
        CapabilityMissing,
        UnreadableVariables,
        PlanStale,
        PlanFrozen,
        PlanInvalid,
        ConfirmationMissing,
        ConfirmationStale,
        ConfirmedByHuman,
        ConfirmationNotNeeded,
        Queued,
        Locked,
        NoKey,
        StoreUnavailable,
        StoreReadOnly,
        StoreNotFound,
        StoreWritable,
        CaptureIncomplete,
        PayloadMatches,
        PayloadMissing,
        SafetyBackupFailed,
        SafetyBackup,
        RollingBack,
        Verifying,
        StepFailed,
        NeedsHuman,
        Drifted,
        Verified,
        VerificationFailed,
        Completed,
        DryRun,
        Cancelled,
        Expired,
        DeadlineExceeded,
        FrozenByRollback,
        NotFrozen,
        Released,
        InUse,
        ChecksPassing,
        ChecksFailing,
        CheckErrors,
        NoData,
        RuleFiring,
        RolledBack,
        RollbackRequested,
        Disarmed,
        ShadowMode,
        CoolingDown,
        AddressNotAllowed,
    }
}

/// Longest message that a condition, a step or an event carries, in bytes.
pub const MESSAGE_LIMIT: usize = 256;

/// `True`, `False` or `Unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tri {
    /// The statement holds.
    True,
    /// It does not.
    False,
    /// It is not known.
    Unknown,
}

impl Tri {
    /// The word as it stands in status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Tri {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// The condition of this type, if it is set.
pub fn condition(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == type_.as_str())
}

/// Whether the condition of this type is `True`.
pub fn is_true(conditions: &[Condition], type_: ConditionType) -> bool {
    condition(conditions, type_).is_some_and(|condition| condition.status == "True")
}
