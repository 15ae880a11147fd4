use vertebra::doctor;

/// Say what this machine has, what a run will use of it, and what bounds training here.
#[derive(clap::Args)]
pub struct Doctor {
    /// Leave out the measurement.
    #[arg(long)]
    quick: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub fn run(self) -> anyhow::Result<()> {
        let mut facts = doctor::facts();
        if !self.quick {
            eprintln!("measuring for about ten seconds");
            facts.extend(doctor::measure()?);
        }
        if self.json {
            let facts: serde_json::Map<_, _> =
                facts.into_iter().map(|fact| (fact.name.into(), fact.value.into())).collect();
            println!("{}", serde_json::Value::Object(facts));
            return Ok(());
        }
        for fact in facts {
            println!("{:>16}  {}", fact.name, fact.value);
        }
        Ok(())
    }
}
